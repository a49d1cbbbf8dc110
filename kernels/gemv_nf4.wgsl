// Product of a few rows with an NF4 matrix, which is read as codes, once for all rows.
//   y[m, start + o] = scale * sum over i of x[m, i] * W[o, i]
//                     + lowScale * sum over r of low_a[m, r] * low_b[o, r] + plus[m, start + o]
//   W[o, i] = value[code[o, i]] * absmax[(o * I + i) / 64]
// x [M, I], M = `rows` from 1 to 8, f32, or f16 where `half`. packed: two codes a byte, the even one in the high half,
// row-major [O, I], I divisible by 32. maxima: absmax f32 [O * I / 64]; where `double` the absmax are 8-bit codes
// themselves, four to a word of `absmax_codes`, and
//   absmax[j] = maxima[absmax_codes[j]] * maxima[256 + j / 256] + offset
// with `maxima` as nf4_dequantize.wgsl's `nested`.
// Where `low`: low_a [M, R], low_b [O, R]. plus: none (0), a vector [width] (1) or y's shape (2). y [M, width] with
// width >= start + O; columns outside of the product are left alone. p.vectors: I / 32. Sums are in f32.
// A thread reads 32 codes of four rows of W at a time, the next ones while it works on these. 2^p.share neighbours, 1,
// 2 or 4, read different rows at the same place, and so the same of x; those behind them read what follows.
// Grid: spread(ceil(O / (4 << p.share))).

const rows: u32 = 1;
const batch: u32 = 1; // rows whose sums are added up at a time: all, or 4
const half: bool = false;
const double: bool = false;
const low: bool = false;
const plusKind = 0;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

struct Params {
  O: u32, vectors: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32, offset: f32, share: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> packed: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> maxima: array<f32>;
@group(0) @binding(4) var<storage, read> absmax_codes: array<u32>;
@group(0) @binding(5) var<storage, read> low_a: array<LowA>;
@group(0) @binding(6) var<storage, read> low_b: array<LowB>;
@group(0) @binding(7) var<storage, read> plus: array<Plus>;
@group(0) @binding(8) var<storage, read_write> y: array<Y>;

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

/** What memory holds of 32 columns of four rows of W: codes a row, and of what their maxima are made. */
struct Block { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, codes: vec4<u32>, maxima: vec4<f32> }

/** `place`: of each row, the vector of 32 codes. */
fn load(place: vec4<u32>) -> Block {
  let j = place >> vec4<u32>(1u);
  var codes = vec4<u32>();
  var found: vec4<f32>;
  if (double) {
    codes = vec4<u32>(
      absmax_codes[j.x >> 2u], absmax_codes[j.y >> 2u], absmax_codes[j.z >> 2u], absmax_codes[j.w >> 2u],
    );
    let nested = (j >> vec4<u32>(8u)) + vec4<u32>(256u);
    found = vec4<f32>(maxima[nested.x], maxima[nested.y], maxima[nested.z], maxima[nested.w]);
  } else {
    found = vec4<f32>(maxima[j.x], maxima[j.y], maxima[j.z], maxima[j.w]);
  }
  return Block(packed[place.x], packed[place.y], packed[place.z], packed[place.w], codes, found);
}

/** The four rows' maxima. */
fn scales(block: Block, place: vec4<u32>) -> vec4<f32> {
  if (!double) { return p.scale * block.maxima; }
  let shift = ((place >> vec4<u32>(1u)) & vec4<u32>(3u)) * 8u;
  let code = (block.codes >> shift) & vec4<u32>(255u);
  let mapped = vec4<f32>(map[code.x], map[code.y], map[code.z], map[code.w]);
  return p.scale * (mapped * block.maxima + p.offset);
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

fn put(m: u32, o: u32, value: f32) {
  if (m >= rows || o >= p.O) { return; }
  let i = m * p.width + p.start + o;
  var sum = value;
  if (plusKind == 1) { sum += f32(plus[p.start + o]); }
  if (plusKind == 2) { sum += f32(plus[i]); }
  y[i] = Y(sum);
}

/** Adds the threads' sums of `batch` rows from m on, and writes them. */
fn finish(thread: u32, m: u32, first: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) {
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
  if (mine < batch) {
    var total = 0.0;
    let first_part = mine * 16u + (o & (lanes - 1u));
    for (var i = first_part; i < mine * 16u + 16u; i += lanes) { total += partial[i][o >> p.share]; }
    put(m + mine, first + o, total);
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
  let first = (group.y * groups.x + group.x) * (4u * lanes);
  // Rows behind the last are read as the last, and not written.
  let o = min(first + (thread & (lanes - 1u)) + vec4<u32>(0u, lanes, 2u * lanes, 3u * lanes), vec4<u32>(p.O - 1u));
  let place = o * p.vectors;
  let bank = thread & 31u;
  var k = thread >> p.share;
  var next = load(place + min(k, p.vectors - 1u));
  var all = values;
  for (var i = thread; i < 512u; i += threads) { table[i] = all[i >> 5u]; }
  if (double) { for (var i = thread; i < 256u; i += threads) { map[i] = maxima[i]; } }
  var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
  var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
  if (low) {
    for (var r = k; r < p.R; r += along) {
      let i = o * p.R + r;
      let b = p.lowScale * vec4<f32>(f32(low_b[i.x]), f32(low_b[i.y]), f32(low_b[i.z]), f32(low_b[i.w]));
      s0 += f32(low_a[r]) * b;
      if (rows > 1u) { s1 += f32(low_a[p.R + r]) * b; }
      if (rows > 2u) { s2 += f32(low_a[2u * p.R + r]) * b; }
      if (rows > 3u) { s3 += f32(low_a[3u * p.R + r]) * b; }
      if (rows > 4u) { s4 += f32(low_a[4u * p.R + r]) * b; }
      if (rows > 5u) { s5 += f32(low_a[5u * p.R + r]) * b; }
      if (rows > 6u) { s6 += f32(low_a[6u * p.R + r]) * b; }
      if (rows > 7u) { s7 += f32(low_a[7u * p.R + r]) * b; }
    }
  }
  workgroupBarrier();
  let width = 4u * p.vectors;
  while (k < p.vectors) {
    let block = next;
    if (k + along < p.vectors) { next = load(place + k + along); }
    let scale = scales(block, place + k);
    var words = vec4<u32>(block.a.x, block.b.x, block.c.x, block.d.x);
    var second = vec4<u32>(block.a.y, block.b.y, block.c.y, block.d.y);
    var third = vec4<u32>(block.a.z, block.b.z, block.c.z, block.d.z);
    let fourth = vec4<u32>(block.a.w, block.b.w, block.c.w, block.d.w);
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
  finish(thread, 0u, first, s0, s1, s2, s3);
  if (rows > 4u) { finish(thread, 4u, first, s4, s5, s6, s7); }
}
