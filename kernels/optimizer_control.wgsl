// Second stage of the global norm, and what the optimiser's kernels read of a step.
//   norm = sqrt(sum of sums); clip = min(1, maxNorm / (norm + 1e-6)), or 1 where maxNorm is 0
//   control = [norm, clip, finite, unscale * clip] and scalars[4..16) as they are
// finite is 1, or 0 where a gradient or the norm is not finite: the optimiser then changes nothing. The fourth number is
// the factor of the gradients. sums [p.count]: of gradient_norm.wgsl, -1 for "not finite".
// scalars [16], written for every step: unscale (1 / scale of the loss), maxNorm, two unused, then decay, rate, root, eps,
// smallRate, smallEps, beta1, beta2, 1 - beta1, 1 - beta2, two unused; see adamw.wgsl.
// Grid: [1, 1, 1].

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scalars: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> control: array<vec4<f32>>;

const exponent = 0x7f800000u;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var broken = false;
  for (var i = lane; i < p.count; i += 256u) {
    broken = broken || sums[i] < 0.0;
    sum += sums[i];
  }
  lanes[lane] = select(sum, -1.0, broken);
  for (var half = 128u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) {
      let a = lanes[lane];
      let b = lanes[lane + half];
      lanes[lane] = select(a + b, -1.0, a < 0.0 || b < 0.0);
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    let total = lanes[0];
    let finite = total >= 0.0 && (bitcast<u32>(total) & exponent) != exponent;
    let norm = select(0.0, sqrt(total), finite);
    let maxNorm = scalars[0].y;
    let clip = select(1.0, min(1.0, maxNorm / (norm + 1e-6)), maxNorm > 0.0);
    control[0] = vec4<f32>(norm, clip, select(0.0, 1.0, finite), scalars[0].x * clip);
  }
  if (lane > 0u && lane < 4u) { control[lane] = scalars[lane]; }
}
