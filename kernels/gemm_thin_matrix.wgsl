// Product with a thin result on tensor cores, LoRA's first one: f16 operands, f32 sums, subgroups of 32.
//   y[m, n] = scale * sum over k of a[m, k] * B[k, n]
// a [M, K]; b [N, K] where transB, else B = b [K, N]; y [M, N] in f32 or f16. M is anything, K a multiple of 8,
// N = 16 * fragments.
//
// A workgroup makes 16 rows, in steps of 512 / fragments along K. Its 8 subgroups share each step; their partial sums are
// added up in a fixed order. What a step reads is fetched while the one before is multiplied; a and b are bound for
// writing for the reason given in gemm_matrix.wgsl. Grid: [ceil(M / 16)].

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 1u; // 1, 2 or 4
const transB: bool = true;
alias Y = f32;

struct Params { M: u32, N: u32, K: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const subgroups = 8u;
const step = 512u / fragments;
/** Vectors of 8 in a row of a step. */
const row_vectors = step / 8u;
/** Rows that the threads bring at once. */
const row_step = 256u / row_vectors;
/** Vectors of four in a row of a tile; rows along K are 8 numbers longer, so that they start in other banks. */
const stride_a = step / 4u + 2u;
const stride_b = select(4u * fragments, step / 4u + 2u, transB);
var<workgroup> tile_a: array<vec4<f16>, 16u * stride_a>;
var<workgroup> tile_b: array<vec4<f16>, 16u * fragments * (step / 4u + 2u)>;
/** Partial sums of the subgroups, of one or two blocks of 16 x 16 at a time. */
var<workgroup> partial: array<f32, subgroups * min(fragments, 2u) * 256u>;

fn store_a(row: u32, column: u32, v: vec4<u32>, inside: bool) {
  let i = row * stride_a + column * 2u;
  let x = select(vec4<u32>(), v, inside);
  tile_a[i] = bitcast<vec4<f16>>(x.xy);
  tile_a[i + 1u] = bitcast<vec4<f16>>(x.zw);
}

fn store_b(row: u32, column: u32, v: vec4<u32>) {
  let i = row * stride_b + column * 2u;
  tile_b[i] = bitcast<vec4<f16>>(v.xy);
  tile_b[i + 1u] = bitcast<vec4<f16>>(v.zw);
}

fn put(m0: u32, f: u32, slot: u32, t: u32) {
  var sum = 0.0;
  for (var s = 0u; s < subgroups; s++) { sum += partial[(s * min(fragments, 2u) + slot) * 256u + t]; }
  let m = m0 + (t >> 4u);
  if (m < p.M) { y[m * p.N + f * 16u + (t & 15u)] = Y(sum * p.scale); }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let m0 = group.x * 16u;
  let subgroup = t >> 5u;
  let depth = p.K >> 3u;
  let column = t % row_vectors;
  let row = t / row_vectors;
  let last_m = p.M - 1u;
  let last_k = p.K - 1u;
  let thin_column = t % (2u * fragments);
  let thin_row = t / (2u * fragments);
  const thin_step = 128u / fragments;

  var a0: vec4<u32>; var a1: vec4<u32>; var a2: vec4<u32>; var a3: vec4<u32>;
  var b0: vec4<u32>; var b1: vec4<u32>; var b2: vec4<u32>; var b3: vec4<u32>;
  var c0: Sum; var c1: Sum; var c2: Sum; var c3: Sum;
  let steps = (p.K + step - 1u) / step;
  for (var s = 0u; s <= steps; s++) {
    if (s > 0u) {
      workgroupBarrier();
      storageBarrier();
      // Behind K zeros of a make whatever finite numbers b holds there count nothing.
      let inside = (s - 1u) * row_vectors + column < depth;
      store_a(row, column, a0, inside);
      if (fragments < 4u) { store_a(row + row_step, column, a1, inside); }
      if (fragments == 1u) {
        store_a(row + 2u * row_step, column, a2, inside);
        store_a(row + 3u * row_step, column, a3, inside);
      }
      if (transB) {
        store_b(row, column, b0);
        store_b(row + row_step, column, b1);
        store_b(row + 2u * row_step, column, b2);
        store_b(row + 3u * row_step, column, b3);
      } else {
        store_b(thin_row, thin_column, b0);
        store_b(thin_row + thin_step, thin_column, b1);
        store_b(thin_row + 2u * thin_step, thin_column, b2);
        store_b(thin_row + 3u * thin_step, thin_column, b3);
      }
      workgroupBarrier();
    }
    if (s < steps) {
      let k = min(s * row_vectors + column, depth - 1u);
      a0 = a[min(m0 + row, last_m) * depth + k];
      if (fragments < 4u) { a1 = a[min(m0 + row + row_step, last_m) * depth + k]; }
      if (fragments == 1u) {
        a2 = a[min(m0 + row + 2u * row_step, last_m) * depth + k];
        a3 = a[min(m0 + row + 3u * row_step, last_m) * depth + k];
      }
      if (transB) {
        b0 = b[row * depth + k];
        b1 = b[(row + row_step) * depth + k];
        b2 = b[(row + 2u * row_step) * depth + k];
        b3 = b[(row + 3u * row_step) * depth + k];
      } else {
        let r = s * step + thin_row;
        b0 = b[min(r, last_k) * 2u * fragments + thin_column];
        b1 = b[min(r + thin_step, last_k) * 2u * fragments + thin_column];
        b2 = b[min(r + 2u * thin_step, last_k) * 2u * fragments + thin_column];
        b3 = b[min(r + 3u * thin_step, last_k) * 2u * fragments + thin_column];
      }
    }
    if (s > 0u) {
      for (var i = 0u; i < 4u / fragments; i++) {
        let k4 = (subgroup * (4u / fragments) + i) * 4u;
        let left = subgroupMatrixLoad<Left, row_major>(&tile_a, k4, stride_a);
        if (transB) {
          c0 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, col_major>(&tile_b, k4, stride_b), c0);
          if (fragments > 1u) {
            let right = subgroupMatrixLoad<Right, col_major>(&tile_b, 16u * stride_b + k4, stride_b);
            c1 = subgroupMatrixMultiplyAccumulate(left, right, c1);
          }
          if (fragments > 2u) {
            let third = subgroupMatrixLoad<Right, col_major>(&tile_b, 32u * stride_b + k4, stride_b);
            c2 = subgroupMatrixMultiplyAccumulate(left, third, c2);
            let fourth = subgroupMatrixLoad<Right, col_major>(&tile_b, 48u * stride_b + k4, stride_b);
            c3 = subgroupMatrixMultiplyAccumulate(left, fourth, c3);
          }
        } else {
          let at = k4 * 4u * stride_b;
          c0 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile_b, at, stride_b), c0);
          if (fragments > 1u) {
            let right = subgroupMatrixLoad<Right, row_major>(&tile_b, at + 4u, stride_b);
            c1 = subgroupMatrixMultiplyAccumulate(left, right, c1);
          }
          if (fragments > 2u) {
            let third = subgroupMatrixLoad<Right, row_major>(&tile_b, at + 8u, stride_b);
            c2 = subgroupMatrixMultiplyAccumulate(left, third, c2);
            let fourth = subgroupMatrixLoad<Right, row_major>(&tile_b, at + 12u, stride_b);
            c3 = subgroupMatrixMultiplyAccumulate(left, fourth, c3);
          }
        }
      }
    }
  }
  let own = subgroup * min(fragments, 2u) * 256u;
  subgroupMatrixStore<row_major>(&partial, own, c0, 16u);
  if (fragments > 1u) { subgroupMatrixStore<row_major>(&partial, own + 256u, c1, 16u); }
  workgroupBarrier();
  put(m0, 0u, 0u, t);
  if (fragments > 1u) { put(m0, 1u, 1u, t); }
  if (fragments > 2u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&partial, own, c2, 16u);
    subgroupMatrixStore<row_major>(&partial, own + 256u, c3, 16u);
    workgroupBarrier();
    put(m0, 2u, 0u, t);
    put(m0, 3u, 1u, t);
  }
}
