// Gradients of a gated activation over its operands, and its result again, four at a time.
//   dy = act(gate) * up, gate = dy * up * act'(gate), up = dy * act(gate)
// act: 0 silu, x * sigmoid(x); 1 the tanh approximation of gelu, written as x * sigmoid(2u) with
// u = sqrt(2/pi) * (x + 0.044715 x^3), since tanh overflows on some devices.
// dy, gate, up: p.count groups of four; buffers hold whole groups.
// Grid: spread(ceil(count / 256)).

const activation: u32 = 0;
alias Dy = f32;
alias Gate = f32;
alias Up = f32;

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<Dy>>;
@group(0) @binding(2) var<storage, read_write> gate: array<vec4<Gate>>;
@group(0) @binding(3) var<storage, read_write> up: array<vec4<Up>>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let x = vec4<f32>(gate[i]);
  let gradient = vec4<f32>(dy[i]);
  // act = x * sigmoid(w) and act' = sigmoid(w) + x * w' * sigmoid(w) * sigmoid(-w). Beyond 64 one of the sigmoids is 0,
  // and nothing overflows.
  let z = clamp(x, vec4<f32>(-64.0), vec4<f32>(64.0));
  var w = x;
  var slope = z;
  if (activation == 1u) {
    w = z * (1.5957691216057308 + 0.07135481627260025 * z * z);
    slope = z * (1.5957691216057308 + 0.21406444881780076 * z * z);
  }
  let e = exp(-abs(w));
  let one = vec4<f32>(1.0);
  let positive = w >= vec4<f32>();
  let s = select(e, one, positive) / (1.0 + e);
  let t = select(one, e, positive) / (1.0 + e);
  let factor = vec4<f32>(up[i]);
  dy[i] = vec4<Dy>(x * s * factor);
  gate[i] = vec4<Gate>(gradient * factor * (s + slope * s * t));
  up[i] = vec4<Up>(gradient * x * s);
}
