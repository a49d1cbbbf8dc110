// Products of the same few rows with one, two or three dense matrices, each read once for all rows.
//   y[m, start + o] = scale * sum over i of x[m, i] * W[o, i]
//                     + lowScale * sum over r of low_a[m, r] * low_b[o, r] + plus[m, start + o]
// x [M, I], M = `rows` from 1 to 8, f32, or f16 where `half`; W [O, I], f32, or f16 where `halfW`; I divisible by 8.
// Where `low`: low_a [M, R], low_b [O, R]. plus: none (0), a vector [width] (1) or y's shape (2). y [M, width] with
// width >= start + O; columns outside of the product are left alone. Of several products width = O, start = 0, and
// nothing is added. p.vectors: I / 8. Sums are in f32.
// A thread reads 8 numbers of four rows of W at a time, its neighbour the next 8.
// Grid: spread of the sum over matrices of ceil(O / 4).

const rows: u32 = 1;
const batch: u32 = 1; // rows whose sums are added up at a time: all, or 4
const products: u32 = 1;
const half: bool = false;
const halfW: bool = false;
const low: bool = false;
const plusKind = 0;
alias LowA = f32;
alias LowB = f32;
alias Plus = f32;
alias Y = f32;

struct Params {
  vectors: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32, O0: u32, O1: u32, O2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> w0: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> w1: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> w2: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> low_a: array<LowA>;
@group(0) @binding(6) var<storage, read> low_b: array<LowB>;
@group(0) @binding(7) var<storage, read> plus: array<Plus>;
@group(0) @binding(8) var<storage, read_write> y0: array<Y>;
@group(0) @binding(9) var<storage, read_write> y1: array<Y>;
@group(0) @binding(10) var<storage, read_write> y2: array<Y>;

const threads = 128u;
var<workgroup> partial: array<vec4<f32>, threads * batch>;

/** Eight numbers in f16. */
fn widened(v: vec4<u32>) -> mat2x4<f32> {
  return mat2x4<f32>(
    vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)),
    vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)),
  );
}

/** The second or third matrix of several; everything of the first is the default. */
fn is_second(w: u32) -> bool { return products > 1u && w == 1u; }
fn is_third(w: u32) -> bool { return products > 2u && w == 2u; }

fn outputs(w: u32) -> u32 { return select(select(p.O0, p.O1, is_second(w)), p.O2, is_third(w)); }

/** Eight numbers of x, and of a matrix. */
fn eight(i: u32) -> mat2x4<f32> {
  if (half) { return widened(x[i]); }
  return mat2x4<f32>(bitcast<vec4<f32>>(x[2u * i]), bitcast<vec4<f32>>(x[2u * i + 1u]));
}
fn vector(w: u32, i: u32) -> vec4<u32> {
  if (is_second(w)) { return w1[i]; }
  if (is_third(w)) { return w2[i]; }
  return w0[i];
}
fn weights(w: u32, i: u32) -> mat2x4<f32> {
  if (halfW) { return widened(vector(w, i)); }
  return mat2x4<f32>(bitcast<vec4<f32>>(vector(w, 2u * i)), bitcast<vec4<f32>>(vector(w, 2u * i + 1u)));
}

fn product(left: mat4x4<f32>, right: mat4x4<f32>, i: u32) -> vec4<f32> {
  let numbers = eight(i);
  return numbers[0] * left + numbers[1] * right;
}

fn put(w: u32, m: u32, o: u32, value: f32) {
  if (m >= rows || o >= outputs(w)) { return; }
  let i = m * select(outputs(w), p.width, products == 1u) + p.start + o;
  var sum = value;
  if (plusKind == 1) { sum += f32(plus[p.start + o]); }
  if (plusKind == 2) { sum += f32(plus[i]); }
  if (is_second(w)) {
    y1[i] = Y(sum);
  } else if (is_third(w)) {
    y2[i] = Y(sum);
  } else {
    y0[i] = Y(sum);
  }
}

/** Adds the threads' sums of `batch` rows from m on, and writes them. */
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
  let mine = thread >> 2u;
  let o = thread & 3u;
  if (mine < batch) {
    var total = 0.0;
    for (var i = mine * 16u; i < mine * 16u + 16u; i++) { total += partial[i][o]; }
    put(w, m + mine, first + o, total);
  }
}

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  // Which matrix, and its rows from `first` on: workgroups of the first matrix come first.
  var w = 0u;
  var number = group.y * groups.x + group.x;
  if (products > 1u && number >= (p.O0 + 3u) / 4u) {
    number -= (p.O0 + 3u) / 4u;
    w = 1u;
    if (products > 2u && number >= (p.O1 + 3u) / 4u) {
      number -= (p.O1 + 3u) / 4u;
      w = 2u;
    }
  }
  let first = number * 4u;
  // Rows behind the last are read as the last, and not written.
  let o = min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(outputs(w) - 1u));
  let place = o * p.vectors;
  var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
  var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
  if (low) {
    for (var r = thread; r < p.R; r += threads) {
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
  for (var k = thread; k < p.vectors; k += threads) {
    let a = weights(w, place.x + k);
    let b = weights(w, place.y + k);
    let c = weights(w, place.z + k);
    let d = weights(w, place.w + k);
    let left = mat4x4<f32>(a[0], b[0], c[0], d[0]);
    let right = mat4x4<f32>(a[1], b[1], c[1], d[1]);
    s0 += p.scale * product(left, right, k);
    if (rows > 1u) { s1 += p.scale * product(left, right, p.vectors + k); }
    if (rows > 2u) { s2 += p.scale * product(left, right, 2u * p.vectors + k); }
    if (rows > 3u) { s3 += p.scale * product(left, right, 3u * p.vectors + k); }
    if (rows > 4u) { s4 += p.scale * product(left, right, 4u * p.vectors + k); }
    if (rows > 5u) { s5 += p.scale * product(left, right, 5u * p.vectors + k); }
    if (rows > 6u) { s6 += p.scale * product(left, right, 6u * p.vectors + k); }
    if (rows > 7u) { s7 += p.scale * product(left, right, 7u * p.vectors + k); }
  }
  finish(thread, w, 0u, first, s0, s1, s2, s3);
  if (rows > 4u) { finish(thread, w, 4u, first, s4, s5, s6, s7); }
}
