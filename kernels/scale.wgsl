// y[i] = factor * x[i], four at a time.
// p.count: groups of four; both buffers hold whole groups.
// Grid: spread(ceil(count / 256)).

alias X = f32;
alias Y = f32;

struct Params { count: u32, factor: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i < p.count) { y[i] = vec4<Y>(p.factor * vec4<f32>(x[i])); }
}
