// Rows in f16 to be kept for long: each divided by a power of two that brings it into the range of f16, as only rows with
// very large numbers need, so that 11 bits of every number stay.
//   y[row] = (x[row] / 2^e, 2^-e),  e >= 0 the least with max |x[row]| / 2^e < 2^15
// Exact to 11 bits for rows up to 2^39, since the factor is kept in f16 too.
// x: f32 [rows, width], y: f16 [rows, width + 1]; width counts vectors of four, or single numbers where a row is no
// multiple of four. The factor is the first number of a row's last vector.
// Grid: spread(rows).

enable f16;

alias X = vec4<f32>;
alias Y = vec4<f16>;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;

var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  let start = min(row, p.rows - 1u) * p.width;
  var most = X();
  for (var i = lane; i < p.width; i += 256u) { most = max(most, abs(x[start + i])); }
  let four = vec4<f32>(most);
  partial[lane] = max(max(four.x, four.y), max(four.z, four.w));
  for (var half = 128u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
  }
  workgroupBarrier();
  // The exponent of the largest, in the bits of f32 126 more than that of the power of two above it.
  let exponent = i32(bitcast<u32>(partial[0]) >> 23u) - 126;
  let factor = exp2(-f32(max(exponent - 15, 0)));
  if (row < p.rows) {
    for (var i = lane; i < p.width; i += 256u) { y[row * (p.width + 1u) + i] = Y(x[start + i] * factor); }
    if (lane == 0u) { y[row * (p.width + 1u) + p.width] = Y(X(factor)); }
  }
}
