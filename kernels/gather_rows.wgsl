// Rows of a table, or of one part of a table that is split by rows.
//   y[n] = scale * table[index[n] - firstRow]   where firstRow <= index[n] < firstRow + M; other rows are left alone
// table [M, width], index i32 [N], y [N, width]; p.count = N * width, width in elements of Table: vectors of four, or
// single numbers where the width is no multiple of four.
// Grid: spread(ceil(count / 256)).

alias Table = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { count: u32, width: u32, firstRow: u32, rows: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<Table>;
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
  // Rows before the part become huge numbers.
  let row = u32(index[n]) - p.firstRow;
  if (row < p.rows) { y[i] = Y(p.scale * Float(table[row * p.width + i - n * p.width])); }
}
