// Copies numbers from one element type to another, four at a time.
//   y[i] = x[i]
// p.count: groups of four; both buffers hold whole groups (buffers are made in multiples of 16 bytes).
// Grid: spread(ceil(count / 256)).

alias In = f32;
alias Out = f32;

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<In>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Out>>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i < p.count) { y[i] = vec4<Out>(x[i]); }
}
