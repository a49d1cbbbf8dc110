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
// Weights are 2^(score - most). `most` is a row's largest score at first, and stays where later ones are less than 2^15
// times as heavy, which f16 holds: fragments cannot be scaled by row. Where one is heavier, which is rare, the sums so far
// pass through workgroup memory and are scaled there.
// Keys are on their way into registers while values are multiplied, and the other way round.
// q, k, v are only read, but bound for writing: storageBarrier then keeps those loads where they stand.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Out = f16;
const HEAD: u32 = 128; // 64 or 128

const NEVER = -1e30;
/** Powers of two that a weight may be above 1. */
const ROOM = 15.0;

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
// Rows that the threads bring at once, and vectors from where a thread stores one to where it stores the next.
const STEP = 128u / CHUNKS;
const NEXT = STEP * STRIDE;

// 64 queries, then keys, then values in turn. Vectors of 16 bytes: fragments have to begin at multiples of those.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// 64 x 64 scores, 18 vectors a row; also 64 columns of the output when it is scaled or written.
var<workgroup> scores: array<vec4<f32>, 1152>;
// 64 x 64 weights, 9 vectors a row.
var<workgroup> weights: array<vec4<u32>, 576>;
// What each row's sums have to be multiplied by.
var<workgroup> factors: array<f32, 64>;
// Whether a row has a score too large for its `most`.
var<workgroup> grown: u32;

/** What a thread brings of 64 rows: a vector of each STEP-th. */
struct Rows {
  x0: vec4<u32>, x1: vec4<u32>, x2: vec4<u32>, x3: vec4<u32>,
  x4: vec4<u32>, x5: vec4<u32>, x6: vec4<u32>, x7: vec4<u32>,
}

/** Part of the rows from `first` on of one of `heads` heads; behind the last one, that again. */
fn fetch(source: ptr<storage, array<vec4<u32>>, read_write>, heads: u32, head: u32, first: u32, t: u32) -> Rows {
  let last = p.tokens - 1u;
  let row = first + t / CHUNKS;
  let chunk = head * CHUNKS + t % CHUNKS;
  let width = heads * CHUNKS;
  var r: Rows;
  r.x0 = source[min(row, last) * width + chunk];
  r.x1 = source[min(row + STEP, last) * width + chunk];
  r.x2 = source[min(row + 2u * STEP, last) * width + chunk];
  r.x3 = source[min(row + 3u * STEP, last) * width + chunk];
  if (HEAD > 64u) {
    r.x4 = source[min(row + 4u * STEP, last) * width + chunk];
    r.x5 = source[min(row + 5u * STEP, last) * width + chunk];
    r.x6 = source[min(row + 6u * STEP, last) * width + chunk];
    r.x7 = source[min(row + 7u * STEP, last) * width + chunk];
  }
  return r;
}

fn keep(r: Rows, t: u32) {
  let to = (t / CHUNKS) * STRIDE + t % CHUNKS;
  tile[to] = r.x0;
  tile[to + NEXT] = r.x1;
  tile[to + 2u * NEXT] = r.x2;
  tile[to + 3u * NEXT] = r.x3;
  if (HEAD > 64u) {
    tile[to + 4u * NEXT] = r.x4;
    tile[to + 5u * NEXT] = r.x5;
    tile[to + 6u * NEXT] = r.x6;
    tile[to + 7u * NEXT] = r.x7;
  }
}

fn load_queries(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tile, at, STRIDE); }

/** Adds 16 dimensions of queries times keys, which lie at `at` of the tile: 32 x 32 scores, a row of blocks after the other. */
fn add_scores(s: ptr<function, array<Sum, 4>>, upper: Left, lower: Left, at: u32) {
  let a = subgroupMatrixLoad<Right, col_major>(&tile, at, STRIDE);
  let b = subgroupMatrixLoad<Right, col_major>(&tile, at + 16u * STRIDE, STRIDE);
  s[0] = subgroupMatrixMultiplyAccumulate(upper, a, s[0]);
  s[1] = subgroupMatrixMultiplyAccumulate(upper, b, s[1]);
  s[2] = subgroupMatrixMultiplyAccumulate(lower, a, s[2]);
  s[3] = subgroupMatrixMultiplyAccumulate(lower, b, s[3]);
}

/** Adds 16 keys' weights, at `at` of theirs, times values, at `place` of the tile: two rows of blocks, of half a head each. */
fn add_values(o: ptr<function, array<Sum, 8>>, at: u32, place: u32) {
  let upper = subgroupMatrixLoad<Left, row_major>(&weights, at, 9u);
  let lower = subgroupMatrixLoad<Left, row_major>(&weights, at + 144u, 9u);
  let a = subgroupMatrixLoad<Right, row_major>(&tile, place, STRIDE);
  o[0] = subgroupMatrixMultiplyAccumulate(upper, a, o[0]);
  o[4] = subgroupMatrixMultiplyAccumulate(lower, a, o[4]);
  let b = subgroupMatrixLoad<Right, row_major>(&tile, place + 2u, STRIDE);
  o[1] = subgroupMatrixMultiplyAccumulate(upper, b, o[1]);
  o[5] = subgroupMatrixMultiplyAccumulate(lower, b, o[5]);
  if (HEAD > 64u) {
    let c = subgroupMatrixLoad<Right, row_major>(&tile, place + 4u, STRIDE);
    o[2] = subgroupMatrixMultiplyAccumulate(upper, c, o[2]);
    o[6] = subgroupMatrixMultiplyAccumulate(lower, c, o[6]);
    let d = subgroupMatrixLoad<Right, row_major>(&tile, place + 6u, STRIDE);
    o[3] = subgroupMatrixMultiplyAccumulate(upper, d, o[3]);
    o[7] = subgroupMatrixMultiplyAccumulate(lower, d, o[7]);
  }
}

/** Scores of four keys from u on in powers of two, NEVER where the query does not see the key. */
fn masked(x: vec4<f32>, u: u32, from_key: u32, t: u32) -> vec4<f32> {
  let keys = vec4<u32>(0u, 1u, 2u, 3u) + u;
  let sees = (keys >= vec4<u32>(from_key)) & (keys <= vec4<u32>(t));
  return select(vec4<f32>(NEVER), x * (p.scale * 1.4426950408889634), sees);
}

fn weigh(x: vec4<f32>, most: f32) -> vec4<f16> {
  return vec4<f16>(select(vec4<f32>(), exp2(x - most), x > vec4<f32>(NEVER)));
}

fn sum(x: vec4<f16>) -> f32 { return dot(vec4<f32>(x), vec4<f32>(1.0)); }

fn largest(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }

/** Two blocks a row of the subgroup's output, to or from the place of its scores. */
fn store_blocks(a: Sum, b: Sum, c: Sum, d: Sum, at: u32) {
  subgroupMatrixStore<row_major>(&scores, at, a, 18u);
  subgroupMatrixStore<row_major>(&scores, at + 4u, b, 18u);
  subgroupMatrixStore<row_major>(&scores, at + 288u, c, 18u);
  subgroupMatrixStore<row_major>(&scores, at + 292u, d, 18u);
}

/** Multiplies 64 columns of the output by their rows' factors. */
fn scale_blocks(t: u32) {
  for (var row = t >> 4u; row < 64u; row += 8u) { scores[row * 18u + (t & 15u)] *= factors[row]; }
}

fn load_block(at: u32) -> Sum { return subgroupMatrixLoad<Sum, row_major>(&scores, at, 18u); }

/** Writes 64 columns: 32 * wc + i of the tile are dimensions HEAD / 2 * wc + 32 * round + i. */
fn write(start: u32, head: u32, round: u32, t: u32) {
  let column = t & 15u;
  let d = (column >> 3u) * (HEAD / 2u) + round * 32u + (column & 7u) * 4u;
  for (var row = t >> 4u; row < 64u; row += 8u) {
    if (start + row < p.tokens) {
      y[((start + row) * p.heads + head) * (HEAD / 4u) + (d >> 2u)] = vec4<Out>(scores[row * 18u + column] * factors[row]);
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
  // Softmax: two threads a row, eight neighbours each in turn.
  let line = t >> 1u;
  let side = t & 1u;
  let query = start + line;
  let from_key = select(0x7fffffffu, u32(spans[min(query, last)].x), query < p.tokens);
  // Where the subgroup's fragments begin.
  let at_queries = wr * 32u * STRIDE;
  let at_keys = wc * 32u * STRIDE;
  let at_values = wc * (CHUNKS / 2u);
  let at_weights = wr * 32u * 9u;
  let at_scores = wr * 32u * 18u + wc * 8u;

  keep(fetch(&q, p.heads, head, start, t), t);
  if (t == 0u) { grown = 0u; }
  workgroupBarrier();
  var upper: array<Left, 8>;
  var lower: array<Left, 8>;
  upper[0] = load_queries(at_queries);
  upper[1] = load_queries(at_queries + 2u);
  upper[2] = load_queries(at_queries + 4u);
  upper[3] = load_queries(at_queries + 6u);
  lower[0] = load_queries(at_queries + 16u * STRIDE);
  lower[1] = load_queries(at_queries + 16u * STRIDE + 2u);
  lower[2] = load_queries(at_queries + 16u * STRIDE + 4u);
  lower[3] = load_queries(at_queries + 16u * STRIDE + 6u);
  if (HEAD > 64u) {
    upper[4] = load_queries(at_queries + 8u);
    upper[5] = load_queries(at_queries + 10u);
    upper[6] = load_queries(at_queries + 12u);
    upper[7] = load_queries(at_queries + 14u);
    lower[4] = load_queries(at_queries + 16u * STRIDE + 8u);
    lower[5] = load_queries(at_queries + 16u * STRIDE + 10u);
    lower[6] = load_queries(at_queries + 16u * STRIDE + 12u);
    lower[7] = load_queries(at_queries + 16u * STRIDE + 14u);
  }
  var o: array<Sum, 8>;
  var most = NEVER;
  var total = 0.0;
  let end = min(start + 64u, p.tokens);
  let begin = u32(spans[min(start, last)].x);
  var rows = fetch(&k, p.kvHeads, group, begin, t);
  for (var first = begin; first < end; first += 64u) {
    // Everyone is done with the tile: keys into it, values on their way.
    workgroupBarrier();
    storageBarrier();
    keep(rows, t);
    workgroupBarrier();
    rows = fetch(&v, p.kvHeads, group, first, t);
    var s = array<Sum, 4>(Sum(), Sum(), Sum(), Sum());
    add_scores(&s, upper[0], lower[0], at_keys);
    add_scores(&s, upper[1], lower[1], at_keys + 2u);
    add_scores(&s, upper[2], lower[2], at_keys + 4u);
    add_scores(&s, upper[3], lower[3], at_keys + 6u);
    if (HEAD > 64u) {
      add_scores(&s, upper[4], lower[4], at_keys + 8u);
      add_scores(&s, upper[5], lower[5], at_keys + 10u);
      add_scores(&s, upper[6], lower[6], at_keys + 12u);
      add_scores(&s, upper[7], lower[7], at_keys + 14u);
    }
    store_blocks(s[0], s[1], s[2], s[3], at_scores);
    workgroupBarrier();
    storageBarrier();

    keep(rows, t);
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
    var top = largest(max(max(max(w0, w1), max(w2, w3)), max(max(w4, w5), max(w6, w7))));
    top = max(top, subgroupShuffleXor(top, 1u));
    var factor = 1.0;
    if (most == NEVER) {
      most = top; // and nothing to scale yet
    } else if (top > most + ROOM) {
      factor = exp2(most - top);
      most = top;
      grown = 1u;
    }
    factors[line] = factor;
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
    total = total * factor + ((sum(e0) + sum(e1)) + (sum(e2) + sum(e3))) + ((sum(e4) + sum(e5)) + (sum(e6) + sum(e7)));
    if (workgroupUniformLoad(&grown) != 0u) {
      store_blocks(o[0], o[1], o[4], o[5], at_scores);
      workgroupBarrier();
      scale_blocks(t);
      workgroupBarrier();
      o[0] = load_block(at_scores);
      o[1] = load_block(at_scores + 4u);
      o[4] = load_block(at_scores + 288u);
      o[5] = load_block(at_scores + 292u);
      if (HEAD > 64u) {
        workgroupBarrier();
        store_blocks(o[2], o[3], o[6], o[7], at_scores);
        workgroupBarrier();
        scale_blocks(t);
        workgroupBarrier();
        o[2] = load_block(at_scores);
        o[3] = load_block(at_scores + 4u);
        o[6] = load_block(at_scores + 288u);
        o[7] = load_block(at_scores + 292u);
      }
      if (t == 0u) { grown = 0u; }
    }
    rows = fetch(&k, p.kvHeads, group, first + 64u, t);
    add_values(&o, at_weights, at_values);
    add_values(&o, at_weights + 2u, at_values + 16u * STRIDE);
    add_values(&o, at_weights + 4u, at_values + 32u * STRIDE);
    add_values(&o, at_weights + 6u, at_values + 48u * STRIDE);
  }

  total += subgroupShuffleXor(total, 1u);
  workgroupBarrier();
  if (side == 0u) {
    factors[line] = 1.0 / total;
    if (query < p.tokens) { lse[query * p.heads + head] = (most + log2(total)) * 0.6931471805599453; }
  }
  store_blocks(o[0], o[1], o[4], o[5], at_scores);
  workgroupBarrier();
  write(start, head, 0u, t);
  if (HEAD > 64u) {
    workgroupBarrier();
    store_blocks(o[2], o[3], o[6], o[7], at_scores);
    workgroupBarrier();
    write(start, head, 1u, t);
  }
}
