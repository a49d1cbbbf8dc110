// Products with a thin result on tensor cores, LoRA's first ones: f16 operands, f32 sums, subgroups of 32.
//   y[m, n] = scale * sum over k of a[m, k] * B[k, n]
// a [M, K]; b [N, K] where transB, else B = b [K, N]; y [M, N] in f32 or f16. M is anything, K a multiple of 8,
// N = 16 * fragments. Up to three products that do not depend on each other are one dispatch, a row of workgroups each:
// every one alone is too short to fill a GPU. They share M, N and scale; those that are not there have nothing to do.
//
// A workgroup makes 16 rows, in steps of 512 / fragments along K. Its 8 subgroups share each step; their partial sums are
// added up in a fixed order. What a step reads is fetched while the one before is multiplied; a and b are bound for
// writing for the reason given in gemm_matrix.wgsl. Grid: [ceil(M / 16), products].

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 1u; // 1, 2 or 4
const transB: bool = true;
const ragged: bool = false; // whether K is no multiple of a step
const products = 1u;
const same_first: bool = false; // whether a0 is the a of all
alias Y = f32;

struct Params { M: u32, N: u32, scale: f32, K0: u32, K1: u32, K2: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a0: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> b0: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y0: array<Y>;
@group(0) @binding(4) var<storage, read_write> a1: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> b1: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> y1: array<Y>;
@group(0) @binding(7) var<storage, read_write> a2: array<vec4<u32>>;
@group(0) @binding(8) var<storage, read_write> b2: array<vec4<u32>>;
@group(0) @binding(9) var<storage, read_write> y2: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
alias Sums = array<Sum, 4>;
alias Matrix = ptr<storage, array<vec4<u32>>, read_write>;

const subgroups = 8u;
/** Vectors of 8 in a row of a step. */
const row_vectors = 64u / fragments;
/** Rows that the threads bring at once: of a (and of b where transB), and of b [K, N]. */
const row_step = 256u / row_vectors;
const thin_step = 128u / fragments;
/** Vectors in a row of a tile, one more than it needs where rows lie along K, so that they start in other banks. */
const stride_a = row_vectors + 1u;
const stride_b = select(2u * fragments, row_vectors + 1u, transB);
const tile_b = 16u * stride_a;
/** Blocks of 16 along K that a subgroup multiplies of a step. */
const blocks = 4u / fragments;
/** Vectors of b from one of its blocks to the next. */
const block_b = select(16u * stride_b, 2u, transB);

/** a's rows of a step, then b's; at the end partial sums of the subgroups, one block of 16 x 16 each, as f32. */
var<workgroup> tile: array<vec4<u32>, tile_b + 16u * fragments * (row_vectors + 1u)>;

/** What a thread brings of a step: rows of a as many as there are, four of b. */
struct Vectors {
  a0: vec4<u32>, a1: vec4<u32>, a2: vec4<u32>, a3: vec4<u32>,
  b0: vec4<u32>, b1: vec4<u32>, b2: vec4<u32>, b3: vec4<u32>,
}

fn fetch(a: Matrix, b: Matrix, K: u32, m0: u32, s: u32, t: u32) -> Vectors {
  let depth = K >> 3u;
  let row = t / row_vectors;
  let last_m = p.M - 1u;
  var k = s * row_vectors + t % row_vectors;
  if (ragged) { k = min(k, depth - 1u); }
  var v: Vectors;
  v.a0 = a[min(m0 + row, last_m) * depth + k];
  if (fragments < 4u) { v.a1 = a[min(m0 + row + row_step, last_m) * depth + k]; }
  if (fragments == 1u) {
    v.a2 = a[min(m0 + row + 2u * row_step, last_m) * depth + k];
    v.a3 = a[min(m0 + row + 3u * row_step, last_m) * depth + k];
  }
  if (transB) {
    v.b0 = b[row * depth + k];
    v.b1 = b[(row + row_step) * depth + k];
    v.b2 = b[(row + 2u * row_step) * depth + k];
    v.b3 = b[(row + 3u * row_step) * depth + k];
  } else {
    let rows = s * row_vectors * 8u + t / (2u * fragments) + thin_step * vec4<u32>(0u, 1u, 2u, 3u);
    let i = select(rows, min(rows, vec4<u32>(K - 1u)), ragged) * (2u * fragments) + t % (2u * fragments);
    v.b0 = b[i.x];
    v.b1 = b[i.y];
    v.b2 = b[i.z];
    v.b3 = b[i.w];
  }
  return v;
}

fn keep(v: Vectors, t: u32) {
  let to = (t / row_vectors) * stride_a + t % row_vectors;
  tile[to] = v.a0;
  if (fragments < 4u) { tile[to + row_step * stride_a] = v.a1; }
  if (fragments == 1u) {
    tile[to + 2u * row_step * stride_a] = v.a2;
    tile[to + 3u * row_step * stride_a] = v.a3;
  }
  const next = select(thin_step * stride_b, row_step * stride_b, transB);
  let thin = tile_b + select((t / (2u * fragments)) * stride_b + t % (2u * fragments), to, transB);
  tile[thin] = v.b0;
  tile[thin + next] = v.b1;
  tile[thin + 2u * next] = v.b2;
  tile[thin + 3u * next] = v.b3;
}

/** Fragment n of b that begins at `at` of the tile. */
fn load_b(at: u32, n: u32) -> Right {
  if (transB) { return subgroupMatrixLoad<Right, col_major>(&tile, at + n * 16u * stride_b, stride_b); }
  return subgroupMatrixLoad<Right, row_major>(&tile, at + n * 2u, stride_b);
}

/** Adds block k of 16 along K of a step. */
fn add_block(c: ptr<function, Sums>, k: u32) {
  let left = subgroupMatrixLoad<Left, row_major>(&tile, 2u * k, stride_a);
  let at = tile_b + k * block_b;
  c[0] = subgroupMatrixMultiplyAccumulate(left, load_b(at, 0u), c[0]);
  if (fragments > 1u) { c[1] = subgroupMatrixMultiplyAccumulate(left, load_b(at, 1u), c[1]); }
  if (fragments > 2u) {
    c[2] = subgroupMatrixMultiplyAccumulate(left, load_b(at, 2u), c[2]);
    c[3] = subgroupMatrixMultiplyAccumulate(left, load_b(at, 3u), c[3]);
  }
}

/** Adds the subgroups' sums of fragment f up and writes them: an element a thread. */
fn put(y: ptr<storage, array<Y>, read_write>, sum: Sum, f: u32, m0: u32, t: u32) {
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&tile, (t >> 5u) * 64u, sum, 4u);
  workgroupBarrier();
  var total = 0.0;
  for (var s = 0u; s < subgroups; s++) { total += bitcast<f32>(tile[s * 64u + (t >> 2u)][t & 3u]); }
  let m = m0 + (t >> 4u);
  if (m < p.M) { y[m * p.N + f * 16u + (t & 15u)] = Y(total * p.scale); }
}

fn product(a: Matrix, b: Matrix, y: ptr<storage, array<Y>, read_write>, K: u32, m0: u32, t: u32) {
  let first = (t >> 5u) * blocks;
  let steps = (K + row_vectors * 8u - 1u) / (row_vectors * 8u);
  var c: Sums;
  var v = fetch(a, b, K, m0, 0u, t);
  for (var s = 0u; s < steps; s++) {
    workgroupBarrier();
    storageBarrier();
    if (ragged && s * row_vectors + t % row_vectors >= (K >> 3u)) {
      // Zeros of a behind K make whatever finite numbers stand for b count nothing.
      v.a0 = vec4<u32>(); v.a1 = vec4<u32>(); v.a2 = vec4<u32>(); v.a3 = vec4<u32>();
    }
    keep(v, t);
    workgroupBarrier();
    v = fetch(a, b, K, m0, min(s + 1u, steps - 1u), t);
    add_block(&c, first);
    if (fragments < 4u) { add_block(&c, first + 1u); }
    if (fragments == 1u) {
      add_block(&c, first + 2u);
      add_block(&c, first + 3u);
    }
  }
  put(y, c[0], 0u, m0, t);
  if (fragments > 1u) { put(y, c[1], 1u, m0, t); }
  if (fragments > 2u) {
    put(y, c[2], 2u, m0, t);
    put(y, c[3], 3u, m0, t);
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let m0 = group.x * 16u;
  if (products == 1u || group.y == 0u) {
    product(&a0, &b0, &y0, p.K0, m0, t);
  } else if (products == 2u || group.y == 1u) {
    if (same_first) { product(&a0, &b1, &y1, p.K1, m0, t); } else { product(&a1, &b1, &y1, p.K1, m0, t); }
  } else {
    if (same_first) { product(&a0, &b2, &y2, p.K2, m0, t); } else { product(&a2, &b2, &y2, p.K2, m0, t); }
  }
}
