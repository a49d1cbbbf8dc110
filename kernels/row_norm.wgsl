// L2 norm of each row.
//   y[first + o] = sqrt(sum over i of x[o, i]^2)
// x [rows, width], y [>= first + rows]; width counts elements of X: vectors of four, or single numbers where a row is no multiple
// of four. share: see lib/webgpu/vectors.ts.
// `lanes` invocations (a power of two) take a row, 256 / lanes rows a workgroup.
// Grid: spread(ceil(rows / (256 / lanes))).

const lanes: u32 = 256;
const share: f32 = 1.0;
alias X = vec4<f32>;
alias Y = f32;
alias Float = vec4<f32>;

struct Params { rows: u32, width: u32, first: u32 }

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
  let row = (workgroup.y * workgroups.x + workgroup.x) * (256u / lanes) + lane / lanes;
  let start = min(row, p.rows - 1u) * p.width;
  let own = lane & (lanes - 1u);
  var squares = Float();
  for (var i = own; i < p.width; i += lanes) {
    let value = Float(x[start + i]);
    squares += value * value;
  }
  partial[lane] = dot(vec4<f32>(squares), vec4<f32>(share));
  workgroupBarrier();
  const columns = min(lanes, 16u);
  if (own < columns) {
    var sum = partial[lane];
    for (var i = own + columns; i < lanes; i += columns) { sum += partial[lane - own + i]; }
    partial[lane] = sum;
  }
  workgroupBarrier();
  if (own == 0u && row < p.rows) {
    var sum = partial[lane];
    for (var i = 1u; i < columns; i++) { sum += partial[lane + i]; }
    y[p.first + row] = Y(sqrt(sum));
  }
}
