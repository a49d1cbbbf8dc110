// Rotary embedding in the half-split form: each head's halves (x1, x2) are turned by the token's angles.
//   y1 = x1 * cos - x2 * turn * sin
//   y2 = x2 * cos + x1 * turn * sin
// x, y [T, heads * 2 * width], cos, sin [T, width]; width, half a head, counts elements of X: vectors of four, or single
// numbers where it is no multiple of four. p.turn: 1, or -1 to turn back. p.count: T * heads * width.
// Grid: spread(ceil(count / 256)).

alias X = vec4<f32>;
alias Cos = vec4<f32>;
alias Sin = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { count: u32, heads: u32, width: u32, turn: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> cos_: array<Cos>;
@group(0) @binding(3) var<storage, read> sin_: array<Sin>;
@group(0) @binding(4) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let head = i / p.width;
  let column = i - head * p.width;
  let first = i + head * p.width;
  let second = first + p.width;
  let angle = head / p.heads * p.width + column;
  let c = Float(cos_[angle]);
  let s = p.turn * Float(sin_[angle]);
  let x1 = Float(x[first]);
  let x2 = Float(x[second]);
  y[first] = Y(x1 * c - x2 * s);
  y[second] = Y(x2 * c + x1 * s);
}
