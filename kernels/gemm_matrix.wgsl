// Matrix product on tensor cores: f16 operands, f32 sums, subgroups of 32.
//   y[m, start + n] = (or +=) scale * (sum over k of a[m, k] * B[k, n] + lowScale * sum over r of low_a[m, r] * L[r, n])
//                     + plus[m, start + n]
// a [M, K]; b [N, K] where transB, else B = b [K, N]. Where `low`: low_a [M, R], low_b [N, R] where transB, else [R, N].
// plus: f32 or f16, none (0), a vector [width] (1) or y's shape (2). y [M, width] in f32 or f16.
// K, N, R, width and start are multiples of 8; M is anything.
//
// A workgroup makes a tile of 32 * fragments rows x 32 * columns columns, each subgroup 16 * fragments x 32 of it: first
// the steps of 64 along K, then those along R. While one step is multiplied, the operands of the next are on their way from
// memory into registers; a branch around those loads costs 5 % of the speed, so the last step along K stands by itself.
// a and b are only read, but bound for writing: a compiler may move loads from a read-only buffer down to where their
// values are used, behind the barrier, and does, which halves the speed (storageBarrier holds them where they stand).
// Grid: [ceil(N / (32 * columns)), ceil(M / (32 * fragments))]; tiles are walked in strips of 8 rows of tiles, so that
// workgroups that run together share operands in the cache.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 4u; // 4 or 2
const columns = 4u; // 4 or 2
const transB: bool = true;
const low: bool = false;
const ragged: bool = false; // whether K is no multiple of 64
const plusKind = 0;
const accumulate: bool = false;
alias Plus = f32;
alias Y = f32;

struct Params { M: u32, N: u32, K: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> low_a: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> low_b: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> plus: array<vec4<Plus>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
alias Sums = array<Sum, 8>;

const threads = 64u * columns;
const tile_rows = 32u * fragments;
const tile_columns = 32u * columns;
/** Vectors of 8 in a row of a tile: 64 numbers, or a tile's width, and 8 more, so that rows start in other banks. */
const stride_a = 9u;
const stride_b = select(4u * columns + 1u, 9u, transB);
const tile_b = tile_rows * 9u;
/** Rows between a thread's vectors: 8 threads bring a row of a (and of b where transB), 4 * columns a row of b [K, N]. */
const step_a = threads / 8u;
const step_b = select(16u, step_a, transB);
/** Vectors from a fragment of b to the next one along K. */
const slab_b = select(16u * stride_b, 2u, transB);

/** Both operands' tiles, a's first; at the end the results on their way out, as f32. */
var<workgroup> tile: array<vec4<u32>, tile_b + tile_columns * 9u>;

fn times(v: vec4<u32>, factor: f16) -> vec4<u32> {
  return vec4<u32>(
    bitcast<u32>(bitcast<vec2<f16>>(v.x) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.y) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.z) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.w) * factor),
  );
}

/** Adds and writes 8 neighbours of a row of a 16 x 16 result that begins at `block` of the tile and at (m, n) of y. */
fn put(m: u32, n: u32, block: u32, lane: u32) {
  let row = m + (lane >> 1u);
  let column = n + (lane & 1u) * 8u;
  if (row < p.M && column < p.N) {
    var first = bitcast<vec4<f32>>(tile[block + lane * 2u]) * p.scale;
    var second = bitcast<vec4<f32>>(tile[block + lane * 2u + 1u]) * p.scale;
    let i = (row * p.width + p.start + column) >> 2u;
    if (plusKind != 0) {
      let j = select(i, (p.start + column) >> 2u, plusKind == 1);
      first += vec4<f32>(plus[j]);
      second += vec4<f32>(plus[j + 1u]);
    }
    if (accumulate) {
      first += vec4<f32>(y[i]);
      second += vec4<f32>(y[i + 1u]);
    }
    y[i] = vec4<Y>(first);
    y[i + 1u] = vec4<Y>(second);
  }
}

/** What a thread brings at a time: vectors of 8 of four rows of either operand. */
struct Vectors {
  a0: vec4<u32>, a1: vec4<u32>, a2: vec4<u32>, a3: vec4<u32>,
  b0: vec4<u32>, b1: vec4<u32>, b2: vec4<u32>, b3: vec4<u32>,
}

/** Where a thread's vectors lie: rows of a, and of b (the same two where transB), and the column of each in vectors. */
struct Places { rows_a: vec4<u32>, column_a: u32, rows_b: vec4<u32>, column_b: u32 }

/** Vectors of step s along K; where ragged, behind K those before it again. */
fn fetch(at: Places, s: u32) -> Vectors {
  let depth = p.K >> 3u;
  let k = select(s * 8u + at.column_a, min(s * 8u + at.column_a, depth - 1u), ragged);
  let i = at.rows_a * depth + k;
  var j: vec4<u32>;
  if (transB) {
    j = at.rows_b * depth + k;
  } else {
    let rows = at.rows_b + s * 64u;
    j = select(rows, min(rows, vec4<u32>(p.K - 1u)), ragged) * (p.N >> 3u) + at.column_b;
  }
  return Vectors(a[i.x], a[i.y], a[i.z], a[i.w], b[j.x], b[j.y], b[j.z], b[j.w]);
}

/** Vectors of 64 columns of low_a from `first` (in vectors) on, and what they are multiplied by; behind R those before it. */
fn fetch_low(at: Places, first: u32) -> Vectors {
  let rank = p.R >> 3u;
  let r = min(first + at.column_a, rank - 1u);
  let i = at.rows_a * rank + r;
  var j: vec4<u32>;
  if (transB) {
    j = at.rows_b * rank + r;
  } else {
    j = min(at.rows_b + first * 8u, vec4<u32>(p.R - 1u)) * (p.N >> 3u) + at.column_b;
  }
  return Vectors(low_a[i.x], low_a[i.y], low_a[i.z], low_a[i.w], low_b[j.x], low_b[j.y], low_b[j.z], low_b[j.w]);
}

/** The same with low_a scaled, and 0 behind R. */
fn scaled(v: Vectors, at: Places, first: u32) -> Vectors {
  let factor = select(0h, f16(p.lowScale), first + at.column_a < (p.R >> 3u));
  return Vectors(
    times(v.a0, factor), times(v.a1, factor), times(v.a2, factor), times(v.a3, factor), v.b0, v.b1, v.b2, v.b3,
  );
}

/** Stores a thread's vectors, of a from `to_a` of the tile on and of b from `to_b` on. */
fn keep(v: Vectors, to_a: u32, to_b: u32) {
  tile[to_a] = v.a0;
  tile[to_a + step_a * stride_a] = v.a1;
  tile[to_a + 2u * step_a * stride_a] = v.a2;
  tile[to_a + 3u * step_a * stride_a] = v.a3;
  tile[to_b] = v.b0;
  tile[to_b + step_b * stride_b] = v.b1;
  tile[to_b + 2u * step_b * stride_b] = v.b2;
  tile[to_b + 3u * step_b * stride_b] = v.b3;
}

/** Adds the product of 16 numbers along K, fragments of a from `ai` of the tile on and of b from `bi` on. */
fn slab(c: ptr<function, Sums>, ai: u32, bi: u32) {
  let w0 = subgroupMatrixLoad<Left, row_major>(&tile, ai, stride_a);
  let w1 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 16u * stride_a, stride_a);
  var x0: Right;
  var x1: Right;
  if (transB) {
    x0 = subgroupMatrixLoad<Right, col_major>(&tile, bi, stride_b);
    x1 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 16u * stride_b, stride_b);
  } else {
    x0 = subgroupMatrixLoad<Right, row_major>(&tile, bi, stride_b);
    x1 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 2u, stride_b);
  }
  c[0] = subgroupMatrixMultiplyAccumulate(w0, x0, c[0]);
  c[2] = subgroupMatrixMultiplyAccumulate(w1, x0, c[2]);
  c[1] = subgroupMatrixMultiplyAccumulate(w0, x1, c[1]);
  c[3] = subgroupMatrixMultiplyAccumulate(w1, x1, c[3]);
  if (fragments == 4u) {
    let w2 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 32u * stride_a, stride_a);
    let w3 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 48u * stride_a, stride_a);
    c[4] = subgroupMatrixMultiplyAccumulate(w2, x0, c[4]);
    c[6] = subgroupMatrixMultiplyAccumulate(w3, x0, c[6]);
    c[5] = subgroupMatrixMultiplyAccumulate(w2, x1, c[5]);
    c[7] = subgroupMatrixMultiplyAccumulate(w3, x1, c[7]);
  }
}

/** Four blocks side by side and below each other, in order. */
fn put_four(m: u32, n: u32, block: u32, lane: u32) {
  put(m, n, block, lane);
  put(m, n + 16u, block + 64u, lane);
  put(m + 16u, n, block + 128u, lane);
  put(m + 16u, n + 16u, block + 192u, lane);
}

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let index = group.y * groups.x + group.x;
  let strip = index / (8u * groups.x);
  let strip_rows = min(8u, groups.y - strip * 8u);
  let within = index % (8u * groups.x);
  let m0 = (strip * 8u + within % strip_rows) * tile_rows;
  let n0 = (within / strip_rows) * tile_columns;
  let subgroup = t >> 5u;
  let lane = t & 31u;
  let row0 = (subgroup / columns) * 16u * fragments;
  let column0 = (subgroup % columns) * 32u;

  // Rows and columns outside are read at the edge: what they make is not written.
  let ka = t & 7u;
  let ra = t >> 3u;
  let cb = select(t % (4u * columns), ka, transB);
  let rb = select(t / (4u * columns), ra, transB);
  const four = vec4<u32>(0u, 1u, 2u, 3u);
  let rows_b = select(rb + step_b * four, min(n0 + rb + step_b * four, vec4<u32>(p.N - 1u)), transB);
  let at = Places(
    min(m0 + ra + step_a * four, vec4<u32>(p.M - 1u)), ka,
    rows_b, min((n0 >> 3u) + cb, (p.N >> 3u) - 1u),
  );
  // Where the thread stores its vectors, and where its subgroup's fragments begin.
  let to_a = ra * stride_a + ka;
  let to_b = tile_b + rb * stride_b + cb;
  let ai = row0 * stride_a;
  let bi = tile_b + select(column0 >> 3u, column0 * stride_b, transB);

  var c: Sums;
  let last = ((p.K + 63u) >> 6u) - 1u;
  var v = fetch(at, 0u);
  for (var s = 0u; s < last; s++) {
    workgroupBarrier();
    storageBarrier();
    keep(v, to_a, to_b);
    workgroupBarrier();
    v = fetch(at, s + 1u);
    slab(&c, ai, bi);
    slab(&c, ai + 2u, bi + slab_b);
    slab(&c, ai + 4u, bi + 2u * slab_b);
    slab(&c, ai + 6u, bi + 3u * slab_b);
  }
  workgroupBarrier();
  storageBarrier();
  if (ragged && last * 8u + ka >= (p.K >> 3u)) {
    // Zeros of a behind K make whatever finite numbers stand for b count nothing.
    v.a0 = vec4<u32>(); v.a1 = vec4<u32>(); v.a2 = vec4<u32>(); v.a3 = vec4<u32>();
  }
  keep(v, to_a, to_b);
  workgroupBarrier();
  if (low) { v = fetch_low(at, 0u); }
  slab(&c, ai, bi);
  slab(&c, ai + 2u, bi + slab_b);
  slab(&c, ai + 4u, bi + 2u * slab_b);
  slab(&c, ai + 6u, bi + 3u * slab_b);
  if (low) {
    for (var first = 0u; first < (p.R >> 3u); first += 8u) {
      workgroupBarrier();
      storageBarrier();
      keep(scaled(v, at, first), to_a, to_b);
      workgroupBarrier();
      v = fetch_low(at, first + 8u);
      let slabs = min(((p.R >> 3u) - first + 1u) >> 1u, 4u);
      for (var i = 0u; i < slabs; i++) { slab(&c, ai + i * 2u, bi + i * slab_b); }
    }
  }

  // Out through workgroup memory, four blocks of each subgroup at a time.
  let m = m0 + row0;
  let n = n0 + column0;
  let block = subgroup * 256u;
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&tile, block, c[0], 4u);
  subgroupMatrixStore<row_major>(&tile, block + 64u, c[1], 4u);
  subgroupMatrixStore<row_major>(&tile, block + 128u, c[2], 4u);
  subgroupMatrixStore<row_major>(&tile, block + 192u, c[3], 4u);
  workgroupBarrier();
  put_four(m, n, block, lane);
  if (fragments == 4u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&tile, block, c[4], 4u);
    subgroupMatrixStore<row_major>(&tile, block + 64u, c[5], 4u);
    subgroupMatrixStore<row_major>(&tile, block + 128u, c[6], 4u);
    subgroupMatrixStore<row_major>(&tile, block + 192u, c[7], 4u);
    workgroupBarrier();
    put_four(m + 32u, n, block, lane);
  }
}
