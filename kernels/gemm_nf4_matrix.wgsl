// Product of up to 32 rows with an NF4 matrix, which is read as codes, on tensor cores: f32 sums, subgroups of 32.
//   y[m, start + o] = scale * (sum over i of x[m, i] * W[o, i])
//                     + lowScale * sum over r of low_a[m, r] * low_b[o, r] + plus[m, start + o]
//   W[o, i] = f16(value[code[o, i]] * absmax[(o * I + i) / 64])
// x f16 [M, I], M at most 16 * fragments, I divisible by 32. whole: the matrix as lib/webgpu/nf4_kernels.ts lays it out,
// codes first, two a byte, the even one in the high half, row-major [O, I]. From word p.maxima on: absmax f32 [O * I / 64];
// where `double` 8-bit codes of them, four to a word, and from word p.nested on what the 256 codes stand for, then the
// maximum of each 256 blocks:
//   absmax[j] = nested[absmax_codes[j]] * nested[256 + j / 256] + offset
// Where `low`: low_a [M, R], low_b [O, R]. plus: none (0), a vector [width] (1) or y's shape (2). y [M, width] with
// width >= start + O; columns outside of the product are left alone.
//
// A workgroup of 8 * outputs threads makes `outputs` columns of y in steps of 256 along I: a thread writes 32 codes out, 8 of
// them a row, and each subgroup multiplies its share of the columns. At the end the subgroups' sums are added up in a
// fixed order. Multiplying takes far less time than memory does: rows of x are fetched a step ahead, codes two. What is
// fetched is bound for writing for the reason given in gemm_matrix.wgsl. Grid: [ceil(O / outputs)].

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 1u; // 1 or 2
const outputs = 16u; // 16 or 32
const double: bool = false;
const low: bool = false;
const plusKind = 0;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

struct Params {
  M: u32, O: u32, vectors: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32,
  offset: f32, maxima: u32, nested: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> whole: array<vec4<u32>>; // p.vectors of 32 codes a row
@group(0) @binding(3) var<storage, read> low_a: array<LowA>;
@group(0) @binding(4) var<storage, read> low_b: array<LowB>;
@group(0) @binding(5) var<storage, read> plus: array<Plus>;
@group(0) @binding(6) var<storage, read_write> y: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
alias Sums = array<Sum, 4>;

const threads = 8u * outputs;
const subgroups = outputs / 4u;
/** Vectors of 8 in a row of a tile: 256 numbers, and 8 more, so that rows start in other banks. */
const stride = 33u;
/** Rows of W, then rows of x. */
const tile_x = outputs * stride;
/** Vectors of a row that a subgroup multiplies. */
const share = 32u / subgroups;
/** Blocks of 16 x 16 beside each other, and vectors of a subgroup's sums. */
const blocks = outputs / 16u;
const own_sums = blocks * fragments * 64u;

/** Rows of a step; at the end the subgroups' sums, as f32. */
var<workgroup> tile: array<vec4<u32>, (outputs + 16u * fragments) * stride>;
/** The sixteen values, each 32 times beside itself: lanes that look up different ones do not wait for each other. */
var<workgroup> table: array<f32, 512>;
/** The map of the maxima's codes. */
var<workgroup> map: array<f32, 256>;

const values = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
);

/** Codes of a step that a thread turns, and of what their maximum is made. */
struct Codes { packed: vec4<u32>, code: u32, maximum: f32 }

/** Vectors of rows of x that a thread brings of a step. */
struct Rows {
  x0: vec4<u32>, x1: vec4<u32>, x2: vec4<u32>, x3: vec4<u32>,
  x4: vec4<u32>, x5: vec4<u32>, x6: vec4<u32>, x7: vec4<u32>,
}

fn word(i: u32) -> u32 { return whole[i >> 2u][i & 3u]; }

/** `vector`: of 32 codes within a row. Behind the last one, that again. */
fn fetch_codes(row: u32, vector: u32) -> Codes {
  let place = row * p.vectors + min(vector, p.vectors - 1u);
  let j = place >> 1u;
  if (double) {
    return Codes(whole[place], word(p.maxima + (j >> 2u)), bitcast<f32>(word(p.nested + 256u + (j >> 8u))));
  }
  return Codes(whole[place], 0u, bitcast<f32>(word(p.maxima + j)));
}

/** Rows that the threads bring at once, 32 vectors of 8 numbers each. */
const step_x = threads / 32u;
/** Rows of x that a thread brings a vector of. */
const brought = 16u * fragments / step_x;

/** `vector`: of 8 numbers within a row. */
fn fetch_rows(row: u32, vector: u32) -> Rows {
  let last = p.M - 1u;
  let width = p.vectors * 4u;
  let column = min(vector, width - 1u);
  var r: Rows;
  r.x0 = x[min(row, last) * width + column];
  r.x1 = x[min(row + step_x, last) * width + column];
  if (brought > 2u) {
    r.x2 = x[min(row + 2u * step_x, last) * width + column];
    r.x3 = x[min(row + 3u * step_x, last) * width + column];
  }
  if (brought > 4u) {
    r.x4 = x[min(row + 4u * step_x, last) * width + column];
    r.x5 = x[min(row + 5u * step_x, last) * width + column];
    r.x6 = x[min(row + 6u * step_x, last) * width + column];
    r.x7 = x[min(row + 7u * step_x, last) * width + column];
  }
  return r;
}

/** Two neighbours' values, whose codes stand at bits 4 to 7 and 0 to 3 of `byte`, and whatever else. */
fn pair(byte: u32, absmax: f32, lane: u32) -> u32 {
  let even = table[((byte << 1u) & 480u) | lane];
  let odd = table[((byte << 5u) & 480u) | lane];
  return pack2x16float(vec2<f32>(even, odd) * absmax);
}

/** The eight values of a word of codes. */
fn eight(word: u32, absmax: f32, lane: u32) -> vec4<u32> {
  return vec4<u32>(
    pair(word, absmax, lane), pair(word >> 8u, absmax, lane),
    pair(word >> 16u, absmax, lane), pair(word >> 24u, absmax, lane),
  );
}

/** Writes 32 numbers of W out; zeros behind the last column make whatever stands for x count nothing. */
fn keep_codes(c: Codes, row: u32, vector: u32, to: u32, lane: u32) {
  var absmax = c.maximum;
  if (double) {
    let j = (row * p.vectors + min(vector, p.vectors - 1u)) >> 1u;
    absmax = map[(c.code >> ((j & 3u) * 8u)) & 255u] * c.maximum + p.offset;
  }
  absmax = select(0.0, absmax, vector < p.vectors);
  tile[to] = eight(c.packed.x, absmax, lane);
  tile[to + 1u] = eight(c.packed.y, absmax, lane);
  tile[to + 2u] = eight(c.packed.z, absmax, lane);
  tile[to + 3u] = eight(c.packed.w, absmax, lane);
}

fn keep_rows(r: Rows, to: u32) {
  const next = step_x * stride;
  tile[to] = r.x0;
  tile[to + next] = r.x1;
  if (brought > 2u) {
    tile[to + 2u * next] = r.x2;
    tile[to + 3u * next] = r.x3;
  }
  if (brought > 4u) {
    tile[to + 4u * next] = r.x4;
    tile[to + 5u * next] = r.x5;
    tile[to + 6u * next] = r.x6;
    tile[to + 7u * next] = r.x7;
  }
}

/** Adds 16 numbers along I, from vector `at` of the tile's rows on. */
fn add_slab(c: ptr<function, Sums>, at: u32) {
  let upper = subgroupMatrixLoad<Left, row_major>(&tile, tile_x + at, stride);
  let w0 = subgroupMatrixLoad<Right, col_major>(&tile, at, stride);
  c[0] = subgroupMatrixMultiplyAccumulate(upper, w0, c[0]);
  if (blocks > 1u) {
    let w1 = subgroupMatrixLoad<Right, col_major>(&tile, at + 16u * stride, stride);
    c[1] = subgroupMatrixMultiplyAccumulate(upper, w1, c[1]);
    if (fragments > 1u) {
      let lower = subgroupMatrixLoad<Left, row_major>(&tile, tile_x + 16u * stride + at, stride);
      c[2] = subgroupMatrixMultiplyAccumulate(lower, w0, c[2]);
      c[3] = subgroupMatrixMultiplyAccumulate(lower, w1, c[3]);
    }
  } else if (fragments > 1u) {
    let lower = subgroupMatrixLoad<Left, row_major>(&tile, tile_x + 16u * stride + at, stride);
    c[1] = subgroupMatrixMultiplyAccumulate(lower, w0, c[1]);
  }
}

/** Adds the subgroups' sums of element e up, with what comes to it, and writes it. */
fn put(e: u32, o0: u32) {
  let block = e >> 8u;
  let m = (block / blocks) * 16u + ((e >> 4u) & 15u);
  let o = o0 + (block % blocks) * 16u + (e & 15u);
  if (m >= p.M || o >= p.O) { return; }
  var total = 0.0;
  for (var s = 0u; s < subgroups; s++) { total += bitcast<f32>(tile[s * own_sums + (e >> 2u)][e & 3u]); }
  total *= p.scale;
  if (low) {
    var sum = 0.0;
    for (var r = 0u; r < p.R; r++) { sum += f32(low_a[m * p.R + r]) * f32(low_b[o * p.R + r]); }
    total += p.lowScale * sum;
  }
  let i = m * p.width + p.start + o;
  if (plusKind == 1) { total += f32(plus[p.start + o]); }
  if (plusKind == 2) { total += f32(plus[i]); }
  y[i] = Y(total);
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let lane = t & 31u;
  let subgroup = t >> 5u;
  let o0 = group.x * outputs;
  // Four rows of W a subgroup: lanes that store together write other rows, which are other banks.
  let line = subgroup * 4u + (lane & 3u);
  let part = lane >> 2u;
  let row = min(o0 + line, p.O - 1u);
  let to = line * stride + part * 4u;
  let to_x = tile_x + subgroup * stride + lane;
  let own = subgroup * share;
  for (var i = t; i < 512u; i += threads) { table[i] = values[i >> 5u]; }
  if (double) {
    for (var i = t; i < 256u; i += threads) { map[i] = bitcast<f32>(word(p.nested + i)); }
  }

  var c: Sums;
  let steps = (p.vectors + 7u) >> 3u;
  var codes = fetch_codes(row, part);
  var next_codes = fetch_codes(row, part + 8u);
  var rows = fetch_rows(subgroup, lane);
  for (var s = 0u; s < steps; s++) {
    let vector = s * 8u + part;
    workgroupBarrier();
    storageBarrier();
    keep_rows(rows, to_x);
    keep_codes(codes, row, vector, to, lane);
    workgroupBarrier();
    codes = next_codes;
    next_codes = fetch_codes(row, vector + 16u);
    rows = fetch_rows(subgroup, (s + 1u) * 32u + lane);
    add_slab(&c, own);
    add_slab(&c, own + 2u);
    if (share > 4u) {
      add_slab(&c, own + 4u);
      add_slab(&c, own + 6u);
    }
  }

  workgroupBarrier();
  let sums = subgroup * own_sums;
  subgroupMatrixStore<row_major>(&tile, sums, c[0], 4u);
  if (own_sums > 64u) { subgroupMatrixStore<row_major>(&tile, sums + 64u, c[1], 4u); }
  if (own_sums > 128u) {
    subgroupMatrixStore<row_major>(&tile, sums + 128u, c[2], 4u);
    subgroupMatrixStore<row_major>(&tile, sums + 192u, c[3], 4u);
  }
  workgroupBarrier();
  for (var e = t; e < own_sums * 4u; e += threads) { put(e, o0); }
}
