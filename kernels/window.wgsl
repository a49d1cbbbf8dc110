// A window of a matrix, copied.
//   y[r, c] = x[row + r, column + c]
// x [M, stride], y [rows, width]; p.count = rows * width, p.start = row * stride + column, all in elements of X: vectors
// of four, or single numbers where a width or the column is no multiple of four.
// Grid: spread(ceil(count / 256)).

alias X = vec4<f32>;

struct Params { count: u32, width: u32, stride: u32, start: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<X>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let r = i / p.width;
  y[i] = x[p.start + r * p.stride + (i - r * p.width)];
}
