// Gated activation, four at a time.
//   y = act(gate) * up
// act: 0 silu, x * sigmoid(x); 1 the tanh approximation of gelu, written as x * sigmoid(2u) with
// u = sqrt(2/pi) * (x + 0.044715 x^3), since tanh overflows on some devices.
// gate, up, y: p.count groups of four; buffers hold whole groups.
// Grid: spread(ceil(count / 256)).

const activation: u32 = 0;
alias Gate = f32;
alias Up = f32;
alias Y = f32;

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4<Gate>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<Up>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

// No power of e that is taken here overflows.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
  let e = exp(-abs(x));
  return select(e, vec4<f32>(1.0), x >= vec4<f32>()) / (1.0 + e);
}

fn act(x: vec4<f32>) -> vec4<f32> {
  if (activation == 0u) { return x * sigmoid(x); }
  // Beyond 64 the sigmoid is 0 or 1, and x^3 does not overflow.
  let z = clamp(x, vec4<f32>(-64.0), vec4<f32>(64.0));
  return x * sigmoid(z * (1.5957691216057308 + 0.07135481627260025 * z * z));
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i < p.count) { y[i] = vec4<Y>(act(vec4<f32>(gate[i])) * vec4<f32>(up[i])); }
}
