// One arithmetic operation by element, the second operand of the same shape or a vector over the last axis.
//   y[i] = a[i] op b[i % period]
// a, y [p.count], b [p.period], counted in elements of A: vectors of four, or single numbers where a vector's width is
// no multiple of four. Buffers hold whole groups of 16 bytes, so that operands of one shape always go in vectors.
// op: 0 add, 1 mul, 2 div.
// Grid: spread(ceil(count / 256)).

const op: u32 = 0;
alias A = vec4<f32>;
alias B = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { count: u32, period: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let left = Float(a[i]);
  let right = Float(b[i % p.period]);
  switch op {
    case 0u: { y[i] = Y(left + right); }
    case 1u: { y[i] = Y(left * right); }
    default: { y[i] = Y(left / right); }
  }
}
