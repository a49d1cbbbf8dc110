// Product with a thin result on tensor cores, LoRA's first one: f16 operands, f32 sums, subgroups of 32.
//   y[m, n] = scale * sum over k of a[m, k] * B[k, n]
// a [M, K]; b [N, K] where transB, else B = b [K, N]; y [M, N] in f32 or f16. M >= 16; K a multiple of 16;
// N = 16 * fragments, 64 at most.
//
// A workgroup makes 16 rows. Its 8 subgroups share K: each multiplies every eighth step of 16, reading its operands
// straight from memory, and the eight partial sums are added up in a fixed order.
// Grid: [ceil(M / 16)]; the last tile is moved up to end with the last row, rows made twice are equal.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 1u; // 1 to 4
const transB: bool = true;
alias Y = f32;

struct Params { M: u32, N: u32, K: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read> b: array<f16>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const subgroups = 8u;
/** Partial sums of the subgroups: 16 x 16 blocks, by subgroup and then by fragment. */
var<workgroup> partial: array<f32, subgroups * fragments * 256u>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let m0 = min(group.x * 16u, p.M - 16u);
  let subgroup = t >> 5u;
  let steps = p.K >> 4u;
  var c0: Sum; var c1: Sum; var c2: Sum; var c3: Sum;
  for (var step = subgroup; step < steps; step += subgroups) {
    let k = step * 16u;
    let left = subgroupMatrixLoad<Left, row_major>(&a, m0 * p.K + k, p.K);
    if (transB) {
      c0 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, col_major>(&b, k, p.K), c0);
      if (fragments > 1u) {
        c1 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, col_major>(&b, 16u * p.K + k, p.K), c1);
      }
      if (fragments > 2u) {
        c2 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, col_major>(&b, 32u * p.K + k, p.K), c2);
      }
      if (fragments > 3u) {
        c3 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, col_major>(&b, 48u * p.K + k, p.K), c3);
      }
    } else {
      let i = k * p.N;
      c0 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&b, i, p.N), c0);
      if (fragments > 1u) {
        c1 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&b, i + 16u, p.N), c1);
      }
      if (fragments > 2u) {
        c2 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&b, i + 32u, p.N), c2);
      }
      if (fragments > 3u) {
        c3 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&b, i + 48u, p.N), c3);
      }
    }
  }
  let own = subgroup * fragments * 256u;
  subgroupMatrixStore<row_major>(&partial, own, c0, 16u);
  if (fragments > 1u) { subgroupMatrixStore<row_major>(&partial, own + 256u, c1, 16u); }
  if (fragments > 2u) { subgroupMatrixStore<row_major>(&partial, own + 512u, c2, 16u); }
  if (fragments > 3u) { subgroupMatrixStore<row_major>(&partial, own + 768u, c3, 16u); }
  workgroupBarrier();
  for (var f = 0u; f < fragments; f++) {
    var sum = 0.0;
    for (var s = 0u; s < subgroups; s++) { sum += partial[(s * fragments + f) * 256u + t]; }
    y[(m0 + (t >> 4u)) * p.N + f * 16u + (t & 15u)] = Y(sum * p.scale);
  }
}
