// Products of the same few rows with one, two or three NF4 matrices, which are read as codes, once for all rows.
//   y[m, start + o] = scale * sum over i of x[m, i] * W[o, i]
//                     + lowScale * sum over r of low_a[m, r] * low_b[o, r] + plus[m, start + o]
//   W[o, i] = value[code[o, i]] * absmax[(o * I + i) / 64]
// and where `gated`, of two matrices, y0 = act(first product) * second product, without plus; act: gated.wgsl.
// x [M, I], M = `rows` from 1 to 8, f32, or f16 where `half`. I is divisible by 32. A matrix w [O, I] is, each part from a
// multiple of 256 bytes on: its codes, two a byte, the even one in the high half, row-major; then f32 absmax
// [O * I / 64]; or where `double` 8-bit codes of the absmax, four to a word, and `nested`, f32, for
//   absmax[j] = nested[absmax_code[j]] * nested[256 + j / 256] + offset
// whose first 256 numbers all matrices share.
// Where `low`: low_a [M, R], low_b [O, R]. plus: none (0), a vector [width] (1) or y's shape (2). y [M, width]: of one
// product width >= start + O, and columns outside of the product are left alone; of several width = O and start = 0.
// p.vectors: I / 32. Sums are in f32.
// A thread reads 32 codes of four rows at a time, where `gated` of two rows of each matrix, the next ones while it works
// on these. 2^p.share neighbours, 1, 2 or 4, read different rows at the same place, and so the same of x; those behind
// them read what follows.
// Grid: spread of the sum over matrices of ceil(O / (4 << p.share)), where `gated` of ceil(O / (2 << p.share)).

const rows: u32 = 1;
const batch: u32 = 1; // rows whose sums are added up at a time: all, or 4
const products: u32 = 1;
const gated: bool = false;
const activation: u32 = 0;
const half: bool = false;
const double: bool = false;
const low: bool = false;
const plusKind = 0;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

struct Params {
  vectors: u32, share: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32,
  O0: u32, O1: u32, O2: u32, offset0: f32, offset1: f32, offset2: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> w0: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> w1: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> w2: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> low_a0: array<LowA>;
@group(0) @binding(6) var<storage, read> low_a1: array<LowA>;
@group(0) @binding(7) var<storage, read> low_a2: array<LowA>;
@group(0) @binding(8) var<storage, read> low_b0: array<LowB>;
@group(0) @binding(9) var<storage, read> low_b1: array<LowB>;
@group(0) @binding(10) var<storage, read> low_b2: array<LowB>;
@group(0) @binding(11) var<storage, read> plus0: array<Plus>;
@group(0) @binding(12) var<storage, read> plus1: array<Plus>;
@group(0) @binding(13) var<storage, read> plus2: array<Plus>;
@group(0) @binding(14) var<storage, read_write> y0: array<Y>;
@group(0) @binding(15) var<storage, read_write> y1: array<Y>;
@group(0) @binding(16) var<storage, read_write> y2: array<Y>;

const threads = 128u;

/** The sixteen values, each 32 times beside itself: threads that look up different ones do not wait for each other. */
var<workgroup> table: array<f32, 512>;
/** The map of the maxima's codes. */
var<workgroup> map: array<f32, 256>;
var<workgroup> partial: array<vec4<f32>, threads * batch>;

const values = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
);

/** The second or third matrix of several; everything of the first is the default. */
fn is_second(w: u32) -> bool { return products > 1u && w == 1u; }
fn is_third(w: u32) -> bool { return products > 2u && w == 2u; }

fn outputs(w: u32) -> u32 { return select(select(p.O0, p.O1, is_second(w)), p.O2, is_third(w)); }
fn offset(w: u32) -> f32 { return select(select(p.offset0, p.offset1, is_second(w)), p.offset2, is_third(w)); }

/** Words before a matrix's maxima, and before their codes' numbers. */
fn whole(words: u32) -> u32 { return (words + 63u) & ~63u; }
fn maxima_of(w: u32) -> u32 { return whole(4u * outputs(w) * p.vectors); }
fn nested_of(w: u32) -> u32 { return maxima_of(w) + whole((outputs(w) * p.vectors + 7u) / 8u); }

fn word0(i: u32) -> u32 { return w0[i >> 2u][i & 3u]; }
fn word1(i: u32) -> u32 { return w1[i >> 2u][i & 3u]; }
fn word2(i: u32) -> u32 { return w2[i >> 2u][i & 3u]; }

/** What memory holds of 32 columns of two rows of a matrix: codes, of their maxima the codes, and numbers. */
struct Pair { a: vec4<u32>, b: vec4<u32>, codes: vec2<u32>, maxima: vec2<u32> }
struct Block { first: Pair, second: Pair }

/** `place`: of each row, the vector of 32 codes. */
fn load_pair(w: u32, place: vec2<u32>) -> Pair {
  let j = place >> vec2<u32>(1u);
  var codes = vec2<u32>(maxima_of(w)) + j;
  var maxima = codes;
  if (double) {
    codes = vec2<u32>(maxima_of(w)) + (j >> vec2<u32>(2u));
    maxima = vec2<u32>(nested_of(w) + 256u) + (j >> vec2<u32>(8u));
  }
  if (is_second(w)) {
    return Pair(
      w1[place.x], w1[place.y], vec2(word1(codes.x), word1(codes.y)), vec2(word1(maxima.x), word1(maxima.y)),
    );
  }
  if (is_third(w)) {
    return Pair(
      w2[place.x], w2[place.y], vec2(word2(codes.x), word2(codes.y)), vec2(word2(maxima.x), word2(maxima.y)),
    );
  }
  return Pair(
    w0[place.x], w0[place.y], vec2(word0(codes.x), word0(codes.y)), vec2(word0(maxima.x), word0(maxima.y)),
  );
}

/** Of the first two rows' matrix, and of the others'. */
fn load(w: vec2<u32>, place: vec4<u32>) -> Block {
  return Block(load_pair(w.x, place.xy), load_pair(w.y, place.zw));
}

/** The four rows' maxima. */
fn scales(w: vec2<u32>, block: Block, place: vec4<u32>) -> vec4<f32> {
  let maxima = bitcast<vec4<f32>>(vec4<u32>(block.first.maxima, block.second.maxima));
  if (!double) { return p.scale * maxima; }
  let shift = ((place >> vec4<u32>(1u)) & vec4<u32>(3u)) * 8u;
  let code = (vec4<u32>(block.first.codes, block.second.codes) >> shift) & vec4<u32>(255u);
  let mapped = vec4<f32>(map[code.x], map[code.y], map[code.z], map[code.w]);
  return p.scale * (mapped * maxima + vec2<f32>(offset(w.x), offset(w.y)).xxyy);
}

fn low_a(w: u32, i: u32) -> f32 {
  if (is_second(w)) { return f32(low_a1[i]); }
  if (is_third(w)) { return f32(low_a2[i]); }
  return f32(low_a0[i]);
}

/** Of the rows' matrices. */
fn low_of(w: vec2<u32>, i: u32) -> vec4<f32> { return vec2<f32>(low_a(w.x, i), low_a(w.y, i)).xxyy; }

fn low_b(w: u32, i: u32) -> f32 {
  if (is_second(w)) { return f32(low_b1[i]); }
  if (is_third(w)) { return f32(low_b2[i]); }
  return f32(low_b0[i]);
}

/** Values of the four rows' codes, each 32 times the code in `places`, and whatever else. */
fn column(places: vec4<u32>, bank: u32) -> vec4<f32> {
  let i = (places & vec4<u32>(480u)) | vec4<u32>(bank);
  return vec4<f32>(table[i.x], table[i.y], table[i.z], table[i.w]);
}

/** Columns of the first four codes of a word of each row, and of the other four. */
fn left_of(words: vec4<u32>, bank: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    column(words << vec4<u32>(1u), bank), column(words << vec4<u32>(5u), bank),
    column(words >> vec4<u32>(7u), bank), column(words >> vec4<u32>(3u), bank),
  );
}
fn right_of(words: vec4<u32>, bank: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    column(words >> vec4<u32>(15u), bank), column(words >> vec4<u32>(11u), bank),
    column(words >> vec4<u32>(23u), bank), column(words >> vec4<u32>(19u), bank),
  );
}

/** Eight numbers of x. */
fn eight(i: u32) -> mat2x4<f32> {
  if (half) {
    let v = x[i];
    return mat2x4<f32>(
      vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)),
      vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)),
    );
  }
  return mat2x4<f32>(bitcast<vec4<f32>>(x[2u * i]), bitcast<vec4<f32>>(x[2u * i + 1u]));
}

fn product(left: mat4x4<f32>, right: mat4x4<f32>, i: u32) -> vec4<f32> {
  let numbers = eight(i);
  return left * numbers[0] + right * numbers[1];
}

/** As in gated.wgsl. */
fn act(z: f32) -> f32 {
  let x = clamp(z, -64.0, 64.0);
  let t = select(x * (1.5957691216057308 + 0.07135481627260025 * x * x), z, activation == 0u);
  let e = exp(-abs(t));
  return z * select(e, 1.0, t >= 0.0) / (1.0 + e);
}

fn put(w: u32, m: u32, o: u32, value: f32) {
  if (m >= rows || o >= outputs(w)) { return; }
  let i = m * select(outputs(w), p.width, products == 1u) + p.start + o;
  let at = select(p.start + o, i, plusKind == 2);
  var sum = value;
  if (is_second(w)) {
    if (plusKind > 0) { sum += f32(plus1[at]); }
    y1[i] = Y(sum);
  } else if (is_third(w)) {
    if (plusKind > 0) { sum += f32(plus2[at]); }
    y2[i] = Y(sum);
  } else {
    if (plusKind > 0) { sum += f32(plus0[at]); }
    y0[i] = Y(sum);
  }
}

/** Adds the threads' sums of `batch` rows from m on, and writes them to columns from `first` on. */
fn finish(
  thread: u32, w: u32, m: u32, first: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>,
) {
  workgroupBarrier();
  partial[thread] = s0;
  if (batch > 1u) { partial[threads + thread] = s1; }
  if (batch > 2u) { partial[2u * threads + thread] = s2; }
  if (batch > 3u) { partial[3u * threads + thread] = s3; }
  workgroupBarrier();
  let row = thread >> 4u;
  let at = min(row, batch - 1u) * threads + (thread & 15u);
  let sum = partial[at] + partial[at + 16u] + partial[at + 32u] + partial[at + 48u] +
    partial[at + 64u] + partial[at + 80u] + partial[at + 96u] + partial[at + 112u];
  workgroupBarrier();
  if (row < batch) { partial[thread] = sum; }
  workgroupBarrier();
  let lanes = 1u << p.share;
  let mine = thread >> (2u + p.share);
  let o = thread & (4u * lanes - 1u);
  let row_of_four = o >> p.share;
  if (mine < batch && !(gated && row_of_four > 1u)) {
    var total = 0.0;
    var other = 0.0;
    let first_part = mine * 16u + (o & (lanes - 1u));
    for (var i = first_part; i < mine * 16u + 16u; i += lanes) {
      total += partial[i][row_of_four];
      if (gated) { other += partial[i][row_of_four + 2u]; }
    }
    if (gated) { total = act(total) * other; }
    put(w, m + mine, first + o, total);
  }
}

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let lanes = 1u << p.share;
  let along = threads >> p.share;
  let each = select(4u, 2u, gated) * lanes;
  // Which matrix, and its rows from `first` on: workgroups of the first matrix come first.
  var w = 0u;
  var number = group.y * groups.x + group.x;
  if (products > 1u && !gated && number >= (p.O0 + each - 1u) / each) {
    number -= (p.O0 + each - 1u) / each;
    w = 1u;
    if (products > 2u && number >= (p.O1 + each - 1u) / each) {
      number -= (p.O1 + each - 1u) / each;
      w = 2u;
    }
  }
  let first = number * each;
  let both = vec2<u32>(w, select(w, 1u, gated));
  // Rows behind the last are read as the last, and not written.
  let steps = select(vec4<u32>(0u, lanes, 2u * lanes, 3u * lanes), vec4<u32>(0u, lanes, 0u, lanes), gated);
  let o = min(first + (thread & (lanes - 1u)) + steps, vec4<u32>(outputs(w) - 1u));
  let place = o * p.vectors;
  let bank = thread & 31u;
  var k = thread >> p.share;
  var next = load(both, place + min(k, p.vectors - 1u));
  var all = values;
  for (var i = thread; i < 512u; i += threads) { table[i] = all[i >> 5u]; }
  if (double) { for (var i = thread; i < 256u; i += threads) { map[i] = bitcast<f32>(word0(nested_of(0u) + i)); } }
  var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
  var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
  if (low) {
    for (var r = k; r < p.R; r += along) {
      let i = o * p.R + r;
      let b = p.lowScale * vec4<f32>(
        low_b(both.x, i.x), low_b(both.x, i.y), low_b(both.y, i.z), low_b(both.y, i.w),
      );
      s0 += low_of(both, r) * b;
      if (rows > 1u) { s1 += low_of(both, p.R + r) * b; }
      if (rows > 2u) { s2 += low_of(both, 2u * p.R + r) * b; }
      if (rows > 3u) { s3 += low_of(both, 3u * p.R + r) * b; }
      if (rows > 4u) { s4 += low_of(both, 4u * p.R + r) * b; }
      if (rows > 5u) { s5 += low_of(both, 5u * p.R + r) * b; }
      if (rows > 6u) { s6 += low_of(both, 6u * p.R + r) * b; }
      if (rows > 7u) { s7 += low_of(both, 7u * p.R + r) * b; }
    }
  }
  workgroupBarrier();
  let width = 4u * p.vectors;
  while (k < p.vectors) {
    let block = next;
    if (k + along < p.vectors) { next = load(both, place + k + along); }
    let scale = scales(both, block, place + k);
    var words = vec4<u32>(block.first.a.x, block.first.b.x, block.second.a.x, block.second.b.x);
    var second = vec4<u32>(block.first.a.y, block.first.b.y, block.second.a.y, block.second.b.y);
    var third = vec4<u32>(block.first.a.z, block.first.b.z, block.second.a.z, block.second.b.z);
    let fourth = vec4<u32>(block.first.a.w, block.first.b.w, block.second.a.w, block.second.b.w);
    for (var i = 4u * k; i < 4u * k + 4u; i++) {
      let left = left_of(words, bank);
      let right = right_of(words, bank);
      s0 += scale * product(left, right, i);
      if (rows > 1u) { s1 += scale * product(left, right, width + i); }
      if (rows > 2u) { s2 += scale * product(left, right, 2u * width + i); }
      if (rows > 3u) { s3 += scale * product(left, right, 3u * width + i); }
      if (rows > 4u) { s4 += scale * product(left, right, 4u * width + i); }
      if (rows > 5u) { s5 += scale * product(left, right, 5u * width + i); }
      if (rows > 6u) { s6 += scale * product(left, right, 6u * width + i); }
      if (rows > 7u) { s7 += scale * product(left, right, 7u * width + i); }
      words = second;
      second = third;
      third = fourth;
    }
    k += along;
  }
  finish(thread, w, 0u, first, s0, s1, s2, s3);
  if (rows > 4u) { finish(thread, w, 4u, first, s4, s5, s6, s7); }
}
