// Rows to places of a table; works in place on the table's other rows.
//   y[index[n]] = x[n], or += where `accumulate` is set
// x [N, width], index i32 [N], y [rows, width]; p.count = N * width, width in elements of X: vectors of four, or single
// numbers where the width is no multiple of four. Indices are distinct; those outside [0, rows) are passed over.
// Grid: spread(ceil(count / 256)).

const accumulate: bool = false;
alias X = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { count: u32, width: u32, rows: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let n = i / p.width;
  let row = u32(index[n]);
  if (row >= p.rows) { return; }
  let to = row * p.width + i - n * p.width;
  var value = Float(x[i]);
  if (accumulate) { value += Float(y[to]); }
  y[to] = Y(value);
}
