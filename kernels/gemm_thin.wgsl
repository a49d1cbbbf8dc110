// Matrix product with few results and a long K (gradients of LoRA, its first products): f32, portable.
//   y[m, start + n] = (or +=) scale * sum over k of A[m, k] * B[k, n]
//                     + lowScale * sum over r of low_a[m, r] * L[r, n] + plus[m, start + n]
// Tensors, constants and parameters as in gemm.wgsl. A workgroup computes 8 x 8 results: its 128 threads share K, four
// neighbouring k each at a time, straight from storage into 64 sums in registers, which are added up at the end in an
// order that is always the same. Many workgroups, few barriers: waiting for memory is what costs here.
// Grid: [ceil(N / 8), ceil(M / 8)].

const transA: bool = false;
const transB: bool = false;
const wide: bool = false;
const low: bool = false;
const wideLow: bool = false;
const plusKind = 0;
const accumulate: bool = false;
alias A = f32;
alias B = f32;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

// busy: threads that have a part of K, the first ones.
struct Params {
  M: u32, N: u32, K: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32, busy: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
@group(0) @binding(3) var<storage, read> low_a: array<vec4<LowA>>;
@group(0) @binding(4) var<storage, read> low_b: array<vec4<LowB>>;
@group(0) @binding(5) var<storage, read> plus: array<Plus>;
@group(0) @binding(6) var<storage, read_write> y: array<Y>;

const threads = 128u;

// Half of the sums of every thread.
var<workgroup> parts: array<vec4<f32>, 8u * threads>;

fn a_at(i: u32) -> f32 { return f32(a[i >> 2u][i & 3u]); }
fn b_at(i: u32) -> f32 { return f32(b[i >> 2u][i & 3u]); }
fn low_a_at(i: u32) -> f32 { return f32(low_a[i >> 2u][i & 3u]); }
fn low_b_at(i: u32) -> f32 { return f32(low_b[i >> 2u][i & 3u]); }

// Four numbers of a stored row, from `column` (a multiple of four) on; zero outside of the matrix.

fn load_a(row: u32, column: u32) -> vec4<f32> {
  let height = select(p.M, p.K, transA);
  let width = select(p.K, p.M, transA);
  if (row >= height || column >= width) { return vec4<f32>(); }
  let i = row * width + column;
  if (wide) { return vec4<f32>(a[i >> 2u]); }
  var v = vec4<f32>(a_at(i), 0.0, 0.0, 0.0);
  if (column + 1u < width) { v.y = a_at(i + 1u); }
  if (column + 2u < width) { v.z = a_at(i + 2u); }
  if (column + 3u < width) { v.w = a_at(i + 3u); }
  return v;
}

fn load_b(row: u32, column: u32) -> vec4<f32> {
  let height = select(p.K, p.N, transB);
  let width = select(p.N, p.K, transB);
  if (row >= height || column >= width) { return vec4<f32>(); }
  let i = row * width + column;
  if (wide) { return vec4<f32>(b[i >> 2u]); }
  var v = vec4<f32>(b_at(i), 0.0, 0.0, 0.0);
  if (column + 1u < width) { v.y = b_at(i + 1u); }
  if (column + 2u < width) { v.z = b_at(i + 2u); }
  if (column + 3u < width) { v.w = b_at(i + 3u); }
  return v;
}

fn load_low_a(row: u32, column: u32) -> vec4<f32> {
  if (row >= p.M || column >= p.R) { return vec4<f32>(); }
  let i = row * p.R + column;
  if (wideLow) { return vec4<f32>(low_a[i >> 2u]); }
  var v = vec4<f32>(low_a_at(i), 0.0, 0.0, 0.0);
  if (column + 1u < p.R) { v.y = low_a_at(i + 1u); }
  if (column + 2u < p.R) { v.z = low_a_at(i + 2u); }
  if (column + 3u < p.R) { v.w = low_a_at(i + 3u); }
  return v;
}

fn load_low_b(row: u32, column: u32) -> vec4<f32> {
  let height = select(p.R, p.N, transB);
  let width = select(p.N, p.R, transB);
  if (row >= height || column >= width) { return vec4<f32>(); }
  let i = row * width + column;
  if (wideLow) { return vec4<f32>(low_b[i >> 2u]); }
  var v = vec4<f32>(low_b_at(i), 0.0, 0.0, 0.0);
  if (column + 1u < width) { v.y = low_b_at(i + 1u); }
  if (column + 2u < width) { v.z = low_b_at(i + 2u); }
  if (column + 3u < width) { v.w = low_b_at(i + 3u); }
  return v;
}

// Blocks of 4 x 4 from row or column `i` and from k on; column j of the result is ...

// ... row i + j of A, four numbers along K.
fn block_a(i: u32, k: u32) -> mat4x4<f32> {
  if (transA) { return transpose(mat4x4<f32>(load_a(k, i), load_a(k + 1u, i), load_a(k + 2u, i), load_a(k + 3u, i))); }
  return mat4x4<f32>(load_a(i, k), load_a(i + 1u, k), load_a(i + 2u, k), load_a(i + 3u, k));
}

fn block_low_a(i: u32, k: u32) -> mat4x4<f32> {
  return mat4x4<f32>(load_low_a(i, k), load_low_a(i + 1u, k), load_low_a(i + 2u, k), load_low_a(i + 3u, k));
}

// ... row k + j of B, four numbers along N.
fn block_b(i: u32, k: u32) -> mat4x4<f32> {
  if (transB) { return transpose(mat4x4<f32>(load_b(i, k), load_b(i + 1u, k), load_b(i + 2u, k), load_b(i + 3u, k))); }
  return mat4x4<f32>(load_b(k, i), load_b(k + 1u, i), load_b(k + 2u, i), load_b(k + 3u, i));
}

fn block_low_b(i: u32, k: u32) -> mat4x4<f32> {
  if (transB) {
    return transpose(
      mat4x4<f32>(load_low_b(i, k), load_low_b(i + 1u, k), load_low_b(i + 2u, k), load_low_b(i + 3u, k)),
    );
  }
  return mat4x4<f32>(load_low_b(k, i), load_low_b(k + 1u, i), load_low_b(k + 2u, i), load_low_b(k + 3u, i));
}

fn put(row: u32, column: u32, value: f32) {
  if (row >= p.M || column >= p.N) { return; }
  let i = row * p.width + p.start + column;
  var sum = value;
  if (plusKind == 1) { sum += f32(plus[p.start + column]); }
  if (plusKind == 2) { sum += f32(plus[i]); }
  if (accumulate) { sum += f32(y[i]); }
  y[i] = Y(sum);
}

// Sums of eight vectors over the threads: thread 16 v + i gets its part of vector v, from threads i, i + 16, ...
fn share(thread: u32, c0: mat4x4<f32>, c1: mat4x4<f32>) -> vec4<f32> {
  parts[thread] = c0[0];
  parts[threads + thread] = c0[1];
  parts[2u * threads + thread] = c0[2];
  parts[3u * threads + thread] = c0[3];
  parts[4u * threads + thread] = c1[0];
  parts[5u * threads + thread] = c1[1];
  parts[6u * threads + thread] = c1[2];
  parts[7u * threads + thread] = c1[3];
  workgroupBarrier();
  let first = (thread >> 4u) * threads + (thread & 15u);
  var sum = parts[first];
  for (var j = 16u; j < p.busy; j += 16u) { sum += parts[first + j]; }
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let m0 = group.y * 8u;
  let n0 = group.x * 8u;
  // Columns of a matrix are rows of y: (B^T A^T) = y^T.
  var c00 = mat4x4<f32>();
  var c01 = mat4x4<f32>();
  var c10 = mat4x4<f32>();
  var c11 = mat4x4<f32>();
  for (var k = thread * 4u; k < p.K; k += threads * 4u) {
    let a0 = block_a(m0, k);
    let a1 = block_a(m0 + 4u, k);
    let b0 = block_b(n0, k);
    let b1 = block_b(n0 + 4u, k);
    c00 += b0 * a0;
    c01 += b1 * a0;
    c10 += b0 * a1;
    c11 += b1 * a1;
  }
  c00 *= p.scale;
  c01 *= p.scale;
  c10 *= p.scale;
  c11 *= p.scale;
  if (low) {
    for (var k = thread * 4u; k < p.R; k += threads * 4u) {
      let a0 = p.lowScale * block_low_a(m0, k);
      let a1 = p.lowScale * block_low_a(m0 + 4u, k);
      let b0 = block_low_b(n0, k);
      let b1 = block_low_b(n0 + 4u, k);
      c00 += b0 * a0;
      c01 += b1 * a0;
      c10 += b0 * a1;
      c11 += b1 * a1;
    }
  }
  let c0 = share(thread, c00, c01);
  let c1 = share(thread, c10, c11);
  parts[thread] = c0;
  parts[threads + thread] = c1;
  workgroupBarrier();
  // 64 sums of 16 parts each, one a thread.
  if (thread < 64u) {
    let vector = thread >> 2u;
    var sum = 0.0;
    for (var j = 0u; j < 16u; j++) { sum += parts[vector * 16u + j][thread & 3u]; }
    put(m0 + (vector >> 3u) * 4u + (vector & 3u), n0 + (vector & 4u) + (thread & 3u), sum);
  }
}
