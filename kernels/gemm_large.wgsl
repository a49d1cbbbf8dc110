// Large matrix product, portable: f32 multiply-adds from tiles in workgroup memory. gemm.wgsl takes what this leaves.
//   y[m, start + n] = (or +=) scale * (sum over k of A[m, k] * B[k, n] + lowScale * sum over r of low_a[m, r] * L[r, n])
//                     + plus[m, start + n]
// a [M, K], or [K, M] where transA; b [K, N], or [N, K] where transB; rows of both are whole vectors of four. Where `low`:
// low_a [M, R], low_b [R, N], or [N, R] where transB. plus: f32 or f16, none (0), a vector [width] (1) or y's shape (2).
// y [M, width] with width >= start + N; columns outside of the product are left alone.
//
// A workgroup makes 128 x 128 sums, a thread 8 x 8 of them, in steps of 16 along K. What the next step reads is fetched
// while one is multiplied. Where `unrolled` all 16 steps of a tile are written out: around a loop over them Deno's compiler
// puts so much that it costs a third of the speed, which Dawn's does not. Grid: [ceil(N / 128), ceil(M / 128)].

const unrolled: bool = false;
const transA: bool = false;
const transB: bool = false;
const low: bool = false;
const ragged: bool = false; // whether K is no multiple of 16
const plusKind = 0;
const accumulate: bool = false;
alias A = f32;
alias B = f32;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

// rows = 8, quarters = 4: ends of loops that compilers need not write out.
struct Params {
  M: u32, N: u32, K: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32, rows: u32, quarters: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
@group(0) @binding(3) var<storage, read> low_a: array<LowA>;
@group(0) @binding(4) var<storage, read> low_b: array<LowB>;
@group(0) @binding(5) var<storage, read> plus: array<Plus>;
@group(0) @binding(6) var<storage, read_write> y: array<Y>;

alias Sums = array<vec4<f32>, 16>;

/** Where b's tile begins. */
const tile_b = 512u;
/**
 * Operands as [k][row or column / 4]: every thread reads its 8 rows and columns of one k as vectors. Within a row of 32
 * vectors the number of one is turned by 2 for every four k, so that threads that store different k use other banks.
 */
var<workgroup> tile: array<vec4<f32>, 1024>;

/** Four neighbours of four rows of an operand, as they are stored. */
struct OfA { r0: vec4<A>, r1: vec4<A>, r2: vec4<A>, r3: vec4<A> }
struct OfB { r0: vec4<B>, r1: vec4<B>, r2: vec4<B>, r3: vec4<B> }

/**
 * Where these four lie in the first step, in vectors: rows or columns 4 * vector .. + 3 of `count`, k .. k + 3. `along`:
 * the operand's rows lie along K. Outside of the matrix its edge is read, whose sums are not written.
 */
fn places(vector: u32, k: u32, along: bool, count: u32) -> vec4<u32> {
  const four = vec4<u32>(0u, 1u, 2u, 3u);
  let others = min(vector * 4u + four, vec4<u32>(count - 1u)) * p.K + min(k, p.K - 4u);
  let own = min(k + four, vec4<u32>(p.K - 1u)) * count + min(vector * 4u, count - 4u);
  return select(others, own, along) >> vec4<u32>(2u);
}

/** Zero behind K. */
fn inside(v: vec4<f32>, k: u32) -> vec4<f32> { return select(v, vec4<f32>(), ragged && k >= p.K); }

/** Stores 4 x 4 numbers at `to` of the tile, from k on: rows along K as they are, others turned. */
fn keep(to: u32, k: u32, along: bool, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) {
  if (along) {
    tile[to] = inside(r0, k);
    tile[to + 32u] = inside(r1, k + 1u);
    tile[to + 64u] = inside(r2, k + 2u);
    tile[to + 96u] = inside(r3, k + 3u);
  } else {
    tile[to] = inside(vec4<f32>(r0.x, r1.x, r2.x, r3.x), k);
    tile[to + 32u] = inside(vec4<f32>(r0.y, r1.y, r2.y, r3.y), k);
    tile[to + 64u] = inside(vec4<f32>(r0.z, r1.z, r2.z, r3.z), k);
    tile[to + 96u] = inside(vec4<f32>(r0.w, r1.w, r2.w, r3.w), k);
  }
}

/** Numbers r .. r + 3 of row m of low_a, or of column n of L; 0 outside. */
fn low_row(m: u32, r: u32) -> vec4<f32> {
  var v: vec4<f32>;
  for (var i = 0u; i < 4u; i++) {
    if (m < p.M && r + i < p.R) { v[i] = p.lowScale * f32(low_a[m * p.R + r + i]); }
  }
  return v;
}

fn low_column(n: u32, r: u32) -> vec4<f32> {
  var v: vec4<f32>;
  for (var i = 0u; i < 4u; i++) {
    if (n < p.N && r + i < p.R) { v[i] = f32(low_b[select((r + i) * p.N + n, n * p.R + r + i, transB)]); }
  }
  return v;
}

/** Adds one k: eight rows times eight columns. */
fn add(c: ptr<function, Sums>, ia: u32, ib: u32) {
  let a0 = tile[ia];
  let a1 = tile[ia + 16u];
  let b0 = tile[ib];
  let b1 = tile[ib + 16u];
  c[0] = fma(vec4<f32>(a0.x), b0, c[0]);
  c[8] = fma(vec4<f32>(a0.x), b1, c[8]);
  c[1] = fma(vec4<f32>(a0.y), b0, c[1]);
  c[9] = fma(vec4<f32>(a0.y), b1, c[9]);
  c[2] = fma(vec4<f32>(a0.z), b0, c[2]);
  c[10] = fma(vec4<f32>(a0.z), b1, c[10]);
  c[3] = fma(vec4<f32>(a0.w), b0, c[3]);
  c[11] = fma(vec4<f32>(a0.w), b1, c[11]);
  c[4] = fma(vec4<f32>(a1.x), b0, c[4]);
  c[12] = fma(vec4<f32>(a1.x), b1, c[12]);
  c[5] = fma(vec4<f32>(a1.y), b0, c[5]);
  c[13] = fma(vec4<f32>(a1.y), b1, c[13]);
  c[6] = fma(vec4<f32>(a1.z), b0, c[6]);
  c[14] = fma(vec4<f32>(a1.z), b1, c[14]);
  c[7] = fma(vec4<f32>(a1.w), b0, c[7]);
  c[15] = fma(vec4<f32>(a1.w), b1, c[15]);
}

/** Adds four k. */
fn add_four(c: ptr<function, Sums>, ia: u32, ib: u32) {
  add(c, ia, ib);
  add(c, ia + 32u, ib + 32u);
  add(c, ia + 64u, ib + 64u);
  add(c, ia + 96u, ib + 96u);
}

/** Adds the tile. */
fn multiply(c: ptr<function, Sums>, tx: u32, ty: u32) {
  if (unrolled) {
    add_four(c, ty, tile_b + tx);
    add_four(c, 128u + (ty ^ 2u), tile_b + 128u + (tx ^ 2u));
    add_four(c, 256u + (ty ^ 4u), tile_b + 256u + (tx ^ 4u));
    add_four(c, 384u + (ty ^ 6u), tile_b + 384u + (tx ^ 6u));
  } else {
    for (var q = 0u; q < p.quarters; q++) {
      add_four(c, q * 128u + (ty ^ (q * 2u)), tile_b + q * 128u + (tx ^ (q * 2u)));
    }
  }
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
  var sum = value * p.scale;
  if (plusKind == 1) { sum += f32(plus[p.start + column]); }
  if (plusKind == 2) { sum += f32(plus[i]); }
  if (accumulate) { sum += f32(y[i]); }
  y[i] = Y(sum);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let m0 = group.y * 128u;
  let n0 = group.x * 128u;
  let tx = thread & 15u;
  let ty = thread >> 4u;
  // One half of the threads brings a, the other one b, each 4 x 4 numbers: vector `vector` of rows or columns, from
  // k = 4 * quarter on.
  let first = thread < 128u;
  let i = thread & 127u;
  let along = select(!transB, transA, first);
  let vector = select(i >> 2u, i & 31u, along);
  let quarter = select(i & 3u, i >> 5u, along);
  let to = quarter * 128u + (vector ^ (quarter * 2u));
  var c: Sums;

  if (low) {
    // Rows along R whatever transB says, a number at a time: this is short.
    let line = i >> 2u;
    let r = (i & 3u) * 4u;
    let to_low = (i & 3u) * 128u + (line ^ ((i & 3u) * 2u));
    for (var r0 = 0u; r0 < p.R; r0 += 16u) {
      workgroupBarrier();
      if (first) {
        let m = m0 + line * 4u;
        keep(to_low, 0u, false, low_row(m, r0 + r), low_row(m + 1u, r0 + r), low_row(m + 2u, r0 + r), low_row(m + 3u, r0 + r));
      } else {
        let n = n0 + line * 4u;
        keep(
          tile_b + to_low, 0u, false,
          low_column(n, r0 + r), low_column(n + 1u, r0 + r), low_column(n + 2u, r0 + r), low_column(n + 3u, r0 + r),
        );
      }
      workgroupBarrier();
      multiply(&c, tx, ty);
    }
  }

  let steps = (p.K + 15u) >> 4u;
  let at_a = places((m0 >> 2u) + vector, quarter * 4u, transA, p.M);
  let at_b = places((n0 >> 2u) + vector, quarter * 4u, !transB, p.N);
  let step_a = select(4u, p.M * 4u, transA);
  let step_b = select(4u, p.N * 4u, !transB);
  var of_a: OfA;
  var of_b: OfB;
  if (first) { of_a = OfA(a[at_a.x], a[at_a.y], a[at_a.z], a[at_a.w]); }
  else { of_b = OfB(b[at_b.x], b[at_b.y], b[at_b.z], b[at_b.w]); }
  for (var s = 0u; s < steps; s++) {
    let k = s * 16u + quarter * 4u;
    workgroupBarrier();
    if (first) {
      keep(to, k, transA, vec4<f32>(of_a.r0), vec4<f32>(of_a.r1), vec4<f32>(of_a.r2), vec4<f32>(of_a.r3));
    } else {
      keep(tile_b + to, k, !transB, vec4<f32>(of_b.r0), vec4<f32>(of_b.r1), vec4<f32>(of_b.r2), vec4<f32>(of_b.r3));
    }
    workgroupBarrier();
    let next = min(s + 1u, steps - 1u);
    if (first) {
      let j = at_a + next * step_a;
      of_a = OfA(a[j.x], a[j.y], a[j.z], a[j.w]);
    } else {
      let j = at_b + next * step_b;
      of_b = OfB(b[j.x], b[j.y], b[j.z], b[j.w]);
    }
    multiply(&c, tx, ty);
  }

  let n = n0 + tx * 4u;
  for (var i = 0u; i < p.rows; i++) {
    let row = m0 + (i >> 2u) * 64u + ty * 4u + (i & 3u);
    if (row >= p.M) { break; }
    var left: vec4<f32>;
    var right: vec4<f32>;
    switch (i) {
      case 0u: { left = c[0]; right = c[8]; }
      case 1u: { left = c[1]; right = c[9]; }
      case 2u: { left = c[2]; right = c[10]; }
      case 3u: { left = c[3]; right = c[11]; }
      case 4u: { left = c[4]; right = c[12]; }
      case 5u: { left = c[5]; right = c[13]; }
      case 6u: { left = c[6]; right = c[14]; }
      default: { left = c[7]; right = c[15]; }
    }
    put(row, n, left);
    put(row, n + 64u, right);
  }
}
