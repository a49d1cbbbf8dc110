// One step of AdamW with f32 moments, in place on values and moments.
//   g = factor * grad;  v = beta2*v + (1-beta2)*g*g
//   torch:   m = m + (1-beta1)*(g - m);    w = decay*w + rate*m / (sqrt(v)/root + eps)
//   else:    m = beta1*m + (1-beta1)*g;    w = decay*w + smallRate * (m / (sqrt(v) + smallEps))
// with rate = -lr/(1-beta1^t), root = sqrt(1-beta2^t), smallRate = rate*root, smallEps = eps*root, decay = 1 - lr*wd:
// torch.optim.AdamW, and what bitsandbytes does with small tensors, in the order in which both compute.
// lengths [blocks], grad, w, m, v f32 [blocks, 256]. lengths as in gradient_norm.wgsl; control as in
// optimizer_control.wgsl, and nothing changes where it says "not finite".
// Grid: spread(ceil(p.blocks / 4)).

const torch = true;

struct Params { blocks: u32 }
struct Control {
  norm: f32, clip: f32, finite: f32, factor: f32,
  decay: f32, rate: f32, root: f32, eps: f32,
  smallRate: f32, smallEps: f32, beta1: f32, beta2: f32,
  oneMinusBeta1: f32, oneMinusBeta2: f32, unused1: f32, unused2: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> moments1: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> moments2: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = 4u * (group.y * groups.x + group.x) + (lane >> 6u);
  if (block >= p.blocks || control.finite == 0.0) { return; }
  let place = lane & 63u;
  let i = 64u * block + place;
  let live = 4u * vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(lengths[block]);
  let zero = vec4<f32>();
  let g = select(zero, control.factor * grad[i], live);
  let old = select(zero, w[i], live);
  let before = moments1[i];
  var m: vec4<f32>;
  if (torch) {
    m = fma(vec4<f32>(control.oneMinusBeta1), g - before, before);
  } else {
    m = fma(vec4<f32>(control.oneMinusBeta1), g, before * control.beta1);
  }
  let v = fma(control.oneMinusBeta2 * g, g, moments2[i] * control.beta2);
  var value: vec4<f32>;
  if (torch) {
    value = old * control.decay + (control.rate * m) / (sqrt(v) / control.root + control.eps);
  } else {
    value = fma(m / (sqrt(v) + control.smallEps), vec4<f32>(control.smallRate), old * control.decay);
  }
  value = select(zero, value, live);
  moments1[i] = select(zero, m, live);
  moments2[i] = select(zero, v, live);
  w[i] = value;
}
