// Rows from pack_rows.wgsl in f32 again.
//   y[row] = x[row] / factor of the row
// x: f16 [rows, width + 1], y: f32 [rows, width]; width as there. Grid: spread(ceil(rows * width / 256)).

enable f16;

alias X = vec4<f16>;
alias Y = vec4<f32>;

struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * 256u + lane;
  if (i < p.count) {
    let row = i / p.width;
    let factor = vec4<f32>(Y(x[row * (p.width + 1u) + p.width])).x;
    y[i] = Y(x[i + row]) / factor;
  }
}
