// Attention as in attention.wgsl, on tensor cores: f16 operands, f32 sums, subgroups of 32. HEAD is 64 or 128.
//   y[t, h] = sum over u of softmax(scale * q[t, h] . k[u, g])[u] * v[u, g],  g = floor(h / group)
//   lse[t, h] = log of the sum over u of exp(scale * q[t, h] . k[u, g]), for the backward
// where query t sees the keys u = spans[t].x .. t; spans.x never decreases with t.
// q: f16 [T, H*HEAD]; k, v: f16 [T, G*HEAD]; spans: i32 [T, 2]; y: [T, H*HEAD]; lse: f32 [T, H].
// Grid: (H, ceil(T / 64), 1); the last queries, which see most, come first.
//
// A workgroup takes 64 queries and walks over the keys they see, 64 at a time. Subgroup (wr, wc) of 2 x 2 computes 32 x 32
// scores, which go to workgroup memory as f32; two threads a row make weights of them, f16, and subgroup (wr, wc) adds
// 32 rows by half a head of weights times values.
// Weights are 2^(score - most), where `most` is a row's largest score among the first keys it sees: fragments cannot be
// scaled by row, and f16 holds weights up to 2^15 as well as those up to 1. Where a later score is larger still, which
// is rare, the workgroup looks for the largest scores of all its rows and begins again with those.
// Keys are on their way into registers while values are multiplied, and the other way round.
// q, k, v are only read, but bound for writing: storageBarrier then keeps those loads where they stand.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Out = f16;
const HEAD: u32 = 128; // 64 or 128

const NEVER = -1e30;

struct Params { tokens: u32, heads: u32, kvHeads: u32, group: u32, size: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> q: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> k: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Out>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const CHUNKS = HEAD / 8u;
// Vectors of 8 in a row of a tile, one of them more than it needs, so that rows start in other banks.
const STRIDE = CHUNKS + 1u;
// Rows that the threads bring at once.
const STEP = 128u / CHUNKS;

// 64 queries, then keys, then values in turn. Vectors of 16 bytes: fragments have to begin at multiples of those.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// 64 x 64 scores, 18 vectors a row; also 64 columns of the output when it is written.
var<workgroup> scores: array<vec4<f32>, 1152>;
// 64 x 64 weights, 9 vectors a row.
var<workgroup> weights: array<vec4<u32>, 576>;
var<workgroup> shares: array<f32, 64>;
// Whether a row has a score too large for its `most`.
var<workgroup> grown: u32;

// Scores of four keys from u on in powers of two, NEVER where the query does not see the key.
fn masked(x: vec4<f32>, u: u32, from_key: u32, t: u32) -> vec4<f32> {
  let keys = vec4<u32>(0u, 1u, 2u, 3u) + u;
  let sees = (keys >= vec4<u32>(from_key)) & (keys <= vec4<u32>(t));
  return select(vec4<f32>(NEVER), x * (p.scale * 1.4426950408889634), sees);
}

fn weigh(x: vec4<f32>, most: f32) -> vec4<f16> {
  return vec4<f16>(select(vec4<f32>(), exp2(min(x - most, vec4<f32>(15.0))), x > vec4<f32>(NEVER)));
}

fn sum(x: vec4<f16>) -> f32 { return dot(vec4<f32>(x), vec4<f32>(1.0)); }

fn write(start: u32, head: u32, round: u32, t: u32) {
  // 16 threads a row; columns 32 * wc + i of the tile are dimensions HEAD / 2 * wc + 32 * round + i.
  let column = t & 15u;
  let d = (column >> 3u) * (HEAD / 2u) + round * 32u + (column & 7u) * 4u;
  for (var row = t >> 4u; row < 64u; row += 8u) {
    if (start + row < p.tokens) {
      y[((start + row) * p.heads + head) * (HEAD / 4u) + (d >> 2u)] = vec4<Out>(scores[row * 18u + column] * shares[row]);
    }
  }
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let head = workgroup.x;
  let group = head / p.group;
  let start = (workgroups.y - 1u - workgroup.y) * 64u;
  let wr = t >> 6u;
  let wc = (t >> 5u) & 1u;
  let last = p.tokens - 1u;
  // Loading: a vector of 8 of rows `row`, `row` + STEP, ...
  let chunk = t % CHUNKS;
  let row = t / CHUNKS;
  let to = row * STRIDE + chunk;
  // Softmax: two threads a row, eight neighbours each in turn.
  let line = t >> 1u;
  let side = t & 1u;
  let query = start + line;
  let from_key = select(0x7fffffffu, u32(spans[min(query, last)].x), query < p.tokens);
  // Where the subgroup's fragments begin.
  let at_keys = wc * 32u * STRIDE;
  let at_values = wc * (CHUNKS / 2u);
  let at_weights = wr * 32u * 9u;
  let at_scores = wr * 32u * 18u + wc * 8u;

  var x0: vec4<u32>; var x1: vec4<u32>; var x2: vec4<u32>; var x3: vec4<u32>;
  var x4: vec4<u32>; var x5: vec4<u32>; var x6: vec4<u32>; var x7: vec4<u32>;
  x0 = q[(min(start + row, last) * p.heads + head) * CHUNKS + chunk];
  x1 = q[(min(start + row + 1u * STEP, last) * p.heads + head) * CHUNKS + chunk];
  x2 = q[(min(start + row + 2u * STEP, last) * p.heads + head) * CHUNKS + chunk];
  x3 = q[(min(start + row + 3u * STEP, last) * p.heads + head) * CHUNKS + chunk];
  if (HEAD > 64u) {
    x4 = q[(min(start + row + 4u * STEP, last) * p.heads + head) * CHUNKS + chunk];
    x5 = q[(min(start + row + 5u * STEP, last) * p.heads + head) * CHUNKS + chunk];
    x6 = q[(min(start + row + 6u * STEP, last) * p.heads + head) * CHUNKS + chunk];
    x7 = q[(min(start + row + 7u * STEP, last) * p.heads + head) * CHUNKS + chunk];
  }
  tile[to] = x0;
  tile[to + 1u * STEP * STRIDE] = x1;
  tile[to + 2u * STEP * STRIDE] = x2;
  tile[to + 3u * STEP * STRIDE] = x3;
  if (HEAD > 64u) {
    tile[to + 4u * STEP * STRIDE] = x4;
    tile[to + 5u * STEP * STRIDE] = x5;
    tile[to + 6u * STEP * STRIDE] = x6;
    tile[to + 7u * STEP * STRIDE] = x7;
  }
  workgroupBarrier();
  var q00: Left; var q01: Left; var q02: Left; var q03: Left; var q04: Left; var q05: Left; var q06: Left; var q07: Left;
  var q10: Left; var q11: Left; var q12: Left; var q13: Left; var q14: Left; var q15: Left; var q16: Left; var q17: Left;
  q00 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE, STRIDE);
  q10 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE, STRIDE);
  q01 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 2u, STRIDE);
  q11 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 2u, STRIDE);
  q02 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 4u, STRIDE);
  q12 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 4u, STRIDE);
  q03 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 6u, STRIDE);
  q13 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 6u, STRIDE);
  if (HEAD > 64u) {
    q04 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 8u, STRIDE);
    q14 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 8u, STRIDE);
    q05 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 10u, STRIDE);
    q15 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 10u, STRIDE);
    q06 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 12u, STRIDE);
    q16 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 12u, STRIDE);
    q07 = subgroupMatrixLoad<Left, row_major>(&tile, wr * 32u * STRIDE + 14u, STRIDE);
    q17 = subgroupMatrixLoad<Left, row_major>(&tile, (wr * 32u + 16u) * STRIDE + 14u, STRIDE);
  }
  var o00: Sum; var o01: Sum; var o02: Sum; var o03: Sum;
  var o10: Sum; var o11: Sum; var o12: Sum; var o13: Sum;
  var s00: Sum; var s01: Sum; var s10: Sum; var s11: Sum;
  var most = NEVER;
  var total = 0.0;

  let end = min(start + 64u, p.tokens);
  let begin = u32(spans[min(start, last)].x);
  // Round 0 takes `most` from the first keys; only where that was too little, round 1 finds it and round 2 sums again.
  for (var round = 0u; round < 3u; round++) {
    o00 = Sum(); o01 = Sum(); o02 = Sum(); o03 = Sum();
    o10 = Sum(); o11 = Sum(); o12 = Sum(); o13 = Sum();
    total = 0.0;
    if (t == 0u) { grown = 0u; }
    x0 = k[(min(begin + row, last) * p.kvHeads + group) * CHUNKS + chunk];
    x1 = k[(min(begin + row + 1u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
    x2 = k[(min(begin + row + 2u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
    x3 = k[(min(begin + row + 3u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
    if (HEAD > 64u) {
      x4 = k[(min(begin + row + 4u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x5 = k[(min(begin + row + 5u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x6 = k[(min(begin + row + 6u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x7 = k[(min(begin + row + 7u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
    }
    for (var first = begin; first < end; first += 64u) {
      // Everyone is done with the tile: keys into it, values on their way.
      workgroupBarrier();
      storageBarrier();
      tile[to] = x0;
      tile[to + 1u * STEP * STRIDE] = x1;
      tile[to + 2u * STEP * STRIDE] = x2;
      tile[to + 3u * STEP * STRIDE] = x3;
      if (HEAD > 64u) {
        tile[to + 4u * STEP * STRIDE] = x4;
        tile[to + 5u * STEP * STRIDE] = x5;
        tile[to + 6u * STEP * STRIDE] = x6;
        tile[to + 7u * STEP * STRIDE] = x7;
      }
      workgroupBarrier();
      x0 = v[(min(first + row, last) * p.kvHeads + group) * CHUNKS + chunk];
      x1 = v[(min(first + row + 1u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x2 = v[(min(first + row + 2u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x3 = v[(min(first + row + 3u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      if (HEAD > 64u) {
        x4 = v[(min(first + row + 4u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x5 = v[(min(first + row + 5u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x6 = v[(min(first + row + 6u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x7 = v[(min(first + row + 7u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      }
      s00 = Sum(); s01 = Sum(); s10 = Sum(); s11 = Sum();
      {
        let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys, STRIDE);
        let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE, STRIDE);
        s00 = subgroupMatrixMultiplyAccumulate(q00, a, s00);
        s01 = subgroupMatrixMultiplyAccumulate(q00, b, s01);
        s10 = subgroupMatrixMultiplyAccumulate(q10, a, s10);
        s11 = subgroupMatrixMultiplyAccumulate(q10, b, s11);
      }
      {
        let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 2u, STRIDE);
        let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 2u, STRIDE);
        s00 = subgroupMatrixMultiplyAccumulate(q01, a, s00);
        s01 = subgroupMatrixMultiplyAccumulate(q01, b, s01);
        s10 = subgroupMatrixMultiplyAccumulate(q11, a, s10);
        s11 = subgroupMatrixMultiplyAccumulate(q11, b, s11);
      }
      {
        let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 4u, STRIDE);
        let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 4u, STRIDE);
        s00 = subgroupMatrixMultiplyAccumulate(q02, a, s00);
        s01 = subgroupMatrixMultiplyAccumulate(q02, b, s01);
        s10 = subgroupMatrixMultiplyAccumulate(q12, a, s10);
        s11 = subgroupMatrixMultiplyAccumulate(q12, b, s11);
      }
      {
        let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 6u, STRIDE);
        let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 6u, STRIDE);
        s00 = subgroupMatrixMultiplyAccumulate(q03, a, s00);
        s01 = subgroupMatrixMultiplyAccumulate(q03, b, s01);
        s10 = subgroupMatrixMultiplyAccumulate(q13, a, s10);
        s11 = subgroupMatrixMultiplyAccumulate(q13, b, s11);
      }
      if (HEAD > 64u) {
        {
          let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 8u, STRIDE);
          let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 8u, STRIDE);
          s00 = subgroupMatrixMultiplyAccumulate(q04, a, s00);
          s01 = subgroupMatrixMultiplyAccumulate(q04, b, s01);
          s10 = subgroupMatrixMultiplyAccumulate(q14, a, s10);
          s11 = subgroupMatrixMultiplyAccumulate(q14, b, s11);
        }
        {
          let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 10u, STRIDE);
          let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 10u, STRIDE);
          s00 = subgroupMatrixMultiplyAccumulate(q05, a, s00);
          s01 = subgroupMatrixMultiplyAccumulate(q05, b, s01);
          s10 = subgroupMatrixMultiplyAccumulate(q15, a, s10);
          s11 = subgroupMatrixMultiplyAccumulate(q15, b, s11);
        }
        {
          let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 12u, STRIDE);
          let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 12u, STRIDE);
          s00 = subgroupMatrixMultiplyAccumulate(q06, a, s00);
          s01 = subgroupMatrixMultiplyAccumulate(q06, b, s01);
          s10 = subgroupMatrixMultiplyAccumulate(q16, a, s10);
          s11 = subgroupMatrixMultiplyAccumulate(q16, b, s11);
        }
        {
          let a = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 14u, STRIDE);
          let b = subgroupMatrixLoad<Right, col_major>(&tile, at_keys + 16u * STRIDE + 14u, STRIDE);
          s00 = subgroupMatrixMultiplyAccumulate(q07, a, s00);
          s01 = subgroupMatrixMultiplyAccumulate(q07, b, s01);
          s10 = subgroupMatrixMultiplyAccumulate(q17, a, s10);
          s11 = subgroupMatrixMultiplyAccumulate(q17, b, s11);
        }
      }
      subgroupMatrixStore<row_major>(&scores, at_scores, s00, 18u);
      subgroupMatrixStore<row_major>(&scores, at_scores + 4u, s01, 18u);
      subgroupMatrixStore<row_major>(&scores, at_scores + 288u, s10, 18u);
      subgroupMatrixStore<row_major>(&scores, at_scores + 292u, s11, 18u);
      workgroupBarrier();
      storageBarrier();

      tile[to] = x0;
      tile[to + 1u * STEP * STRIDE] = x1;
      tile[to + 2u * STEP * STRIDE] = x2;
      tile[to + 3u * STEP * STRIDE] = x3;
      if (HEAD > 64u) {
        tile[to + 4u * STEP * STRIDE] = x4;
        tile[to + 5u * STEP * STRIDE] = x5;
        tile[to + 6u * STEP * STRIDE] = x6;
        tile[to + 7u * STEP * STRIDE] = x7;
      }
      let at = line * 18u + side * 2u;
      let key = first + side * 8u;
      let w0 = masked(scores[at], key, from_key, query);
      let w1 = masked(scores[at + 1u], key + 4u, from_key, query);
      let w2 = masked(scores[at + 4u], key + 16u, from_key, query);
      let w3 = masked(scores[at + 5u], key + 20u, from_key, query);
      let w4 = masked(scores[at + 8u], key + 32u, from_key, query);
      let w5 = masked(scores[at + 9u], key + 36u, from_key, query);
      let w6 = masked(scores[at + 12u], key + 48u, from_key, query);
      let w7 = masked(scores[at + 13u], key + 52u, from_key, query);
      let tops = max(max(max(w0, w1), max(w2, w3)), max(max(w4, w5), max(w6, w7)));
      var top = max(max(tops.x, tops.y), max(tops.z, tops.w));
      top = max(top, subgroupShuffleXor(top, 1u));
      if (most == NEVER || round == 1u) {
        most = max(most, top);
      } else if (top > most + 15.0) {
        grown = 1u;
      }
      if (round != 1u) {
        let e0 = weigh(w0, most);
        let e1 = weigh(w1, most);
        let e2 = weigh(w2, most);
        let e3 = weigh(w3, most);
        let e4 = weigh(w4, most);
        let e5 = weigh(w5, most);
        let e6 = weigh(w6, most);
        let e7 = weigh(w7, most);
        let to_weights = line * 9u + side;
        weights[to_weights] = vec4<u32>(bitcast<vec2<u32>>(e0), bitcast<vec2<u32>>(e1));
        weights[to_weights + 2u] = vec4<u32>(bitcast<vec2<u32>>(e2), bitcast<vec2<u32>>(e3));
        weights[to_weights + 4u] = vec4<u32>(bitcast<vec2<u32>>(e4), bitcast<vec2<u32>>(e5));
        weights[to_weights + 6u] = vec4<u32>(bitcast<vec2<u32>>(e6), bitcast<vec2<u32>>(e7));
        total += ((sum(e0) + sum(e1)) + (sum(e2) + sum(e3))) + ((sum(e4) + sum(e5)) + (sum(e6) + sum(e7)));
      }
      workgroupBarrier();
      x0 = k[(min(first + 64u + row, last) * p.kvHeads + group) * CHUNKS + chunk];
      x1 = k[(min(first + 64u + row + 1u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x2 = k[(min(first + 64u + row + 2u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      x3 = k[(min(first + 64u + row + 3u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      if (HEAD > 64u) {
        x4 = k[(min(first + 64u + row + 4u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x5 = k[(min(first + 64u + row + 5u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x6 = k[(min(first + 64u + row + 6u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
        x7 = k[(min(first + 64u + row + 7u * STEP, last) * p.kvHeads + group) * CHUNKS + chunk];
      }
      if (round != 1u) {
        // The four steps of 16 keys, written out.
        {
          let w = subgroupMatrixLoad<Left, row_major>(&weights, at_weights, 9u);
          let z = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 144u, 9u);
          let a = subgroupMatrixLoad<Right, row_major>(&tile, at_values, STRIDE);
          o00 = subgroupMatrixMultiplyAccumulate(w, a, o00);
          o10 = subgroupMatrixMultiplyAccumulate(z, a, o10);
          let b = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 2u, STRIDE);
          o01 = subgroupMatrixMultiplyAccumulate(w, b, o01);
          o11 = subgroupMatrixMultiplyAccumulate(z, b, o11);
          if (HEAD > 64u) {
            let c = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 4u, STRIDE);
            o02 = subgroupMatrixMultiplyAccumulate(w, c, o02);
            o12 = subgroupMatrixMultiplyAccumulate(z, c, o12);
            let d = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 6u, STRIDE);
            o03 = subgroupMatrixMultiplyAccumulate(w, d, o03);
            o13 = subgroupMatrixMultiplyAccumulate(z, d, o13);
          }
        }
        {
          let w = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 2u, 9u);
          let z = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 144u + 2u, 9u);
          let a = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 16u * STRIDE, STRIDE);
          o00 = subgroupMatrixMultiplyAccumulate(w, a, o00);
          o10 = subgroupMatrixMultiplyAccumulate(z, a, o10);
          let b = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 16u * STRIDE + 2u, STRIDE);
          o01 = subgroupMatrixMultiplyAccumulate(w, b, o01);
          o11 = subgroupMatrixMultiplyAccumulate(z, b, o11);
          if (HEAD > 64u) {
            let c = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 16u * STRIDE + 4u, STRIDE);
            o02 = subgroupMatrixMultiplyAccumulate(w, c, o02);
            o12 = subgroupMatrixMultiplyAccumulate(z, c, o12);
            let d = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 16u * STRIDE + 6u, STRIDE);
            o03 = subgroupMatrixMultiplyAccumulate(w, d, o03);
            o13 = subgroupMatrixMultiplyAccumulate(z, d, o13);
          }
        }
        {
          let w = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 4u, 9u);
          let z = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 144u + 4u, 9u);
          let a = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 32u * STRIDE, STRIDE);
          o00 = subgroupMatrixMultiplyAccumulate(w, a, o00);
          o10 = subgroupMatrixMultiplyAccumulate(z, a, o10);
          let b = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 32u * STRIDE + 2u, STRIDE);
          o01 = subgroupMatrixMultiplyAccumulate(w, b, o01);
          o11 = subgroupMatrixMultiplyAccumulate(z, b, o11);
          if (HEAD > 64u) {
            let c = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 32u * STRIDE + 4u, STRIDE);
            o02 = subgroupMatrixMultiplyAccumulate(w, c, o02);
            o12 = subgroupMatrixMultiplyAccumulate(z, c, o12);
            let d = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 32u * STRIDE + 6u, STRIDE);
            o03 = subgroupMatrixMultiplyAccumulate(w, d, o03);
            o13 = subgroupMatrixMultiplyAccumulate(z, d, o13);
          }
        }
        {
          let w = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 6u, 9u);
          let z = subgroupMatrixLoad<Left, row_major>(&weights, at_weights + 144u + 6u, 9u);
          let a = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 48u * STRIDE, STRIDE);
          o00 = subgroupMatrixMultiplyAccumulate(w, a, o00);
          o10 = subgroupMatrixMultiplyAccumulate(z, a, o10);
          let b = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 48u * STRIDE + 2u, STRIDE);
          o01 = subgroupMatrixMultiplyAccumulate(w, b, o01);
          o11 = subgroupMatrixMultiplyAccumulate(z, b, o11);
          if (HEAD > 64u) {
            let c = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 48u * STRIDE + 4u, STRIDE);
            o02 = subgroupMatrixMultiplyAccumulate(w, c, o02);
            o12 = subgroupMatrixMultiplyAccumulate(z, c, o12);
            let d = subgroupMatrixLoad<Right, row_major>(&tile, at_values + 48u * STRIDE + 6u, STRIDE);
            o03 = subgroupMatrixMultiplyAccumulate(w, d, o03);
            o13 = subgroupMatrixMultiplyAccumulate(z, d, o13);
          }
        }
      }
    }
    workgroupBarrier();
    if (round == 0u && workgroupUniformLoad(&grown) == 0u) { break; }
  }

  total += subgroupShuffleXor(total, 1u);
  if (side == 0u) {
    shares[line] = 1.0 / total;
    if (query < p.tokens) { lse[query * p.heads + head] = (most + log2(total)) * 0.6931471805599453; }
  }
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, at_scores, o00, 18u);
  subgroupMatrixStore<row_major>(&scores, at_scores + 4u, o01, 18u);
  subgroupMatrixStore<row_major>(&scores, at_scores + 288u, o10, 18u);
  subgroupMatrixStore<row_major>(&scores, at_scores + 292u, o11, 18u);
  workgroupBarrier();
  write(start, head, 0u, t);
  if (HEAD > 64u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, at_scores, o02, 18u);
    subgroupMatrixStore<row_major>(&scores, at_scores + 4u, o03, 18u);
    subgroupMatrixStore<row_major>(&scores, at_scores + 288u, o12, 18u);
    subgroupMatrixStore<row_major>(&scores, at_scores + 292u, o13, 18u);
    workgroupBarrier();
    write(start, head, 1u, t);
  }
}
