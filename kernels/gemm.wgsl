// Matrix product of any size, portable: f32 multiply-adds from tiles in workgroup memory.
//   y[m, start + n] = (or +=) scale * sum over k of A[m, k] * B[k, n]
//                     + lowScale * sum over r of low_a[m, r] * L[r, n] + plus[m, start + n]
// a [M, K], or [K, M] where transA; b [K, N], or [N, K] where transB. Where `low`: low_a [M, R], low_b [R, N], or [N, R]
// where transB: further steps along K, y is passed over once. plus: f32 or f16, none (0), a vector [width] (1) or y's
// shape (2). y [M, width] with width >= start + N; columns outside of the product are left alone.
// Any sizes. wide, wideLow: rows of a and b, of low_a and low_b are whole vectors of four, which loads faster.
// A workgroup makes 32 x 32 sums, a thread 4 x 4 of them. Grid: [ceil(N / 32), ceil(M / 32)].

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

// depth = 16, rows = 4: ends of loops that compilers need not write out.
struct Params {
  M: u32, N: u32, K: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32, depth: u32, rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
@group(0) @binding(3) var<storage, read> low_a: array<vec4<LowA>>;
@group(0) @binding(4) var<storage, read> low_b: array<vec4<LowB>>;
@group(0) @binding(5) var<storage, read> plus: array<Plus>;
@group(0) @binding(6) var<storage, read_write> y: array<Y>;

const side = 8u;
const threads = side * side;
/** Steps along K from one pair of tiles to the next. */
const depth = 16u;
/** Vectors of four in a row of a tile. */
const vectors = side;

// Operands as [k][row or column / 4]: every thread reads its 4 rows and columns of one k as vectors.
var<workgroup> tile_a: array<vec4<f32>, depth * vectors>;
var<workgroup> tile_b: array<vec4<f32>, depth * vectors>;

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

fn row_of_a(row: u32, column: u32, extension: bool) -> vec4<f32> {
  if (low && extension) { return p.lowScale * load_low_a(row, column); }
  return p.scale * load_a(row, column);
}

fn row_of_b(row: u32, column: u32, extension: bool) -> vec4<f32> {
  if (low && extension) { return load_low_b(row, column); }
  return load_b(row, column);
}

// Thread i of half a workgroup brings 4 x 4 numbers. Rows along K are turned in registers.

fn fill_a(i: u32, m0: u32, k0: u32, extension: bool) {
  if (transA && !extension) {
    let m = i & (vectors - 1u);
    let k = i / vectors * 4u;
    for (var j = 0u; j < 4u; j++) { tile_a[(k + j) * vectors + m] = row_of_a(k0 + k + j, m0 + m * 4u, false); }
    return;
  }
  let k = (i & 3u) * 4u;
  let m = i >> 2u;
  let r0 = row_of_a(m0 + m * 4u, k0 + k, extension);
  let r1 = row_of_a(m0 + m * 4u + 1u, k0 + k, extension);
  let r2 = row_of_a(m0 + m * 4u + 2u, k0 + k, extension);
  let r3 = row_of_a(m0 + m * 4u + 3u, k0 + k, extension);
  tile_a[k * vectors + m] = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
  tile_a[(k + 1u) * vectors + m] = vec4<f32>(r0.y, r1.y, r2.y, r3.y);
  tile_a[(k + 2u) * vectors + m] = vec4<f32>(r0.z, r1.z, r2.z, r3.z);
  tile_a[(k + 3u) * vectors + m] = vec4<f32>(r0.w, r1.w, r2.w, r3.w);
}

fn fill_b(i: u32, n0: u32, k0: u32, extension: bool) {
  if (!transB) {
    let n = i & (vectors - 1u);
    let k = i / vectors * 4u;
    for (var j = 0u; j < 4u; j++) { tile_b[(k + j) * vectors + n] = row_of_b(k0 + k + j, n0 + n * 4u, extension); }
    return;
  }
  let k = (i & 3u) * 4u;
  let n = i >> 2u;
  let r0 = row_of_b(n0 + n * 4u, k0 + k, extension);
  let r1 = row_of_b(n0 + n * 4u + 1u, k0 + k, extension);
  let r2 = row_of_b(n0 + n * 4u + 2u, k0 + k, extension);
  let r3 = row_of_b(n0 + n * 4u + 3u, k0 + k, extension);
  tile_b[k * vectors + n] = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
  tile_b[(k + 1u) * vectors + n] = vec4<f32>(r0.y, r1.y, r2.y, r3.y);
  tile_b[(k + 2u) * vectors + n] = vec4<f32>(r0.z, r1.z, r2.z, r3.z);
  tile_b[(k + 3u) * vectors + n] = vec4<f32>(r0.w, r1.w, r2.w, r3.w);
}

// Sums of one row, columns from `column` on.
fn put(row: u32, column: u32, sums: vec4<f32>) {
  put_one(row, column, sums.x);
  put_one(row, column + 1u, sums.y);
  put_one(row, column + 2u, sums.z);
  put_one(row, column + 3u, sums.w);
}

fn put_one(row: u32, column: u32, value: f32) {
  if (column >= p.N) { return; }
  let i = row * p.width + p.start + column;
  var sum = value;
  if (plusKind == 1) { sum += f32(plus[p.start + column]); }
  if (plusKind == 2) { sum += f32(plus[i]); }
  if (accumulate) { sum += f32(y[i]); }
  y[i] = Y(sum);
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let m0 = group.y * (4u * vectors);
  let n0 = group.x * (4u * vectors);
  let tx = thread & (side - 1u);
  let ty = thread / side;
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  let steps = (p.K + depth - 1u) / depth;
  let all_steps = steps + select(0u, (p.R + depth - 1u) / depth, low);
  for (var step = 0u; step < all_steps; step++) {
    let extension = low && step >= steps;
    let k0 = select(step, step - steps, extension) * depth;
    if (thread < threads / 2u) { fill_a(thread, m0, k0, extension); }
    else { fill_b(thread - threads / 2u, n0, k0, extension); }
    workgroupBarrier();
    for (var k = 0u; k < p.depth; k++) {
      let a0 = tile_a[k * vectors + ty];
      let b0 = tile_b[k * vectors + tx];
      c0 = fma(vec4<f32>(a0.x), b0, c0);
      c1 = fma(vec4<f32>(a0.y), b0, c1);
      c2 = fma(vec4<f32>(a0.z), b0, c2);
      c3 = fma(vec4<f32>(a0.w), b0, c3);
    }
    workgroupBarrier();
  }
  let n = n0 + tx * 4u;
  for (var i = 0u; i < p.rows; i++) {
    let row = m0 + ty * 4u + i;
    if (row >= p.M) { break; }
    var sums: vec4<f32>;
    switch (i) {
      case 0u: { sums = c0; }
      case 1u: { sums = c1; }
      case 2u: { sums = c2; }
      default: { sums = c3; }
    }
    put(row, n, sums);
  }
}
