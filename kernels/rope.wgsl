// Rotary embedding in the half-split form: each head's halves (x1, x2) are turned by the token's angles.
//   y1 = x1 * cos - x2 * turn * sin
//   y2 = x2 * cos + x1 * turn * sin
// x, y [T, heads * 2 * width], cos, sin [T, width]; width, half a head, counts elements of X: vectors of four, or single
// numbers where it is no multiple of four. p.turn: 1, or -1 to turn back. Where `pair`, a second x of other heads, with the
// same angles, is turned as well: a layer's queries and keys. p.count: T * heads * width of the first, p.all: of both.
// Grid: spread(ceil(all / 256)).

const pair: bool = false;

alias X = vec4<f32>;
alias Cos = vec4<f32>;
alias Sin = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { count: u32, heads: u32, width: u32, turn: f32, all: u32, other_heads: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> cos_: array<Cos>;
@group(0) @binding(3) var<storage, read> sin_: array<Sin>;
@group(0) @binding(4) var<storage, read_write> y: array<Y>;
@group(0) @binding(5) var<storage, read> other_x: array<X>;
@group(0) @binding(6) var<storage, read_write> other_y: array<Y>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.y * groups.x + group.x) * 256u + lane;
  if (index >= p.all) { return; }
  let other = pair && index >= p.count;
  let i = select(index, index - p.count, other);
  let head = i / p.width;
  let column = i - head * p.width;
  let first = i + head * p.width;
  let second = first + p.width;
  let angle = head / select(p.heads, p.other_heads, other) * p.width + column;
  let c = Float(cos_[angle]);
  let s = p.turn * Float(sin_[angle]);
  if (other) {
    let x1 = Float(other_x[first]);
    let x2 = Float(other_x[second]);
    other_y[first] = Y(x1 * c - x2 * s);
    other_y[second] = Y(x2 * c + x1 * s);
  } else {
    let x1 = Float(x[first]);
    let x2 = Float(x[second]);
    y[first] = Y(x1 * c - x2 * s);
    y[second] = Y(x2 * c + x1 * s);
  }
}
