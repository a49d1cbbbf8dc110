// Gradient of attention with respect to queries, on tensor cores: f16 operands, f32 sums, subgroups of 32.
//   dq[t, h] = scale * sum over u of ds[t, u] * k[u, g],  ds = P * (dy[t, h] . v[u, g] - delta[t, h].y),
//   P[t, u] = exp(scale * q[t, h] . k[u, g] - delta[t, h].x),  g = floor(h / group)
// over the keys u = spans[t].x .. t that the query sees; spans.x never decreases with t.
// dy, q: f16 [T, H*HEAD]; k, v: f16 [T, G*HEAD]; delta: f32 [T, H, 2] from attention_delta.wgsl; spans: i32 [T, 2];
// dq: [T, H*HEAD]. HEAD is 64 or 128.
// Grid: (H, ceil(T / 64), 1); the last queries, which see most, come first.
//
// A workgroup takes 64 queries, each of its 4 subgroups 16 of them, and walks over the keys they see, 32 at a time.
// Queries and their dy stay in fragments; scores and dy . v pass through workgroup memory, where two threads a query make
// ds of them. The next keys and values are on their way meanwhile; those bindings are only read, see attention_matrix.wgsl.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Out = f16;
const HEAD: u32 = 128; // 64 or 128

struct Params { tokens: u32, heads: u32, kvHeads: u32, group: u32, size: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> k: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> delta: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<Out>>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const CHUNKS = HEAD / 8u;
// Vectors of 8 in a row of a tile, one of them more than it needs, so that rows start in other banks.
const STRIDE = CHUNKS + 1u;
// Rows that the threads bring at once, and vectors from where a thread stores one to where it stores the next.
const STEP = 128u / CHUNKS;
const NEXT = STEP * STRIDE;
const VALUES = 32u * STRIDE;

// 32 keys, then 32 values; at first 64 queries or their dy.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// Of each subgroup: 16 x 32 scores, 9 vectors a row, then 16 x 32 dy . v; also what is written.
var<workgroup> scores: array<vec4<f32>, 1152>;
// Of each subgroup: 16 x 32 ds, 5 vectors a row.
var<workgroup> ds: array<vec4<u32>, 320>;

/** What a thread brings of 32 keys and their values. */
struct Rows {
  k0: vec4<u32>, k1: vec4<u32>, k2: vec4<u32>, k3: vec4<u32>,
  v0: vec4<u32>, v1: vec4<u32>, v2: vec4<u32>, v3: vec4<u32>,
}

fn fetch(group: u32, first: u32, t: u32) -> Rows {
  let last = p.tokens - 1u;
  let row = first + t / CHUNKS;
  let chunk = group * CHUNKS + t % CHUNKS;
  let width = p.kvHeads * CHUNKS;
  let i0 = min(row, last) * width + chunk;
  let i1 = min(row + STEP, last) * width + chunk;
  var r: Rows;
  r.k0 = k[i0];
  r.k1 = k[i1];
  r.v0 = v[i0];
  r.v1 = v[i1];
  if (HEAD > 64u) {
    let i2 = min(row + 2u * STEP, last) * width + chunk;
    let i3 = min(row + 3u * STEP, last) * width + chunk;
    r.k2 = k[i2];
    r.k3 = k[i3];
    r.v2 = v[i2];
    r.v3 = v[i3];
  }
  return r;
}

fn keep(r: Rows, t: u32) {
  let to = (t / CHUNKS) * STRIDE + t % CHUNKS;
  tile[to] = r.k0;
  tile[to + NEXT] = r.k1;
  tile[VALUES + to] = r.v0;
  tile[VALUES + to + NEXT] = r.v1;
  if (HEAD > 64u) {
    tile[to + 2u * NEXT] = r.k2;
    tile[to + 3u * NEXT] = r.k3;
    tile[VALUES + to + 2u * NEXT] = r.v2;
    tile[VALUES + to + 3u * NEXT] = r.v3;
  }
}

fn load_left(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tile, at, STRIDE); }

/** Fragments of the subgroup's 16 rows of the tile. */
fn load_rows(at: u32) -> array<Left, 8> {
  var x: array<Left, 8>;
  x[0] = load_left(at);
  x[1] = load_left(at + 2u);
  x[2] = load_left(at + 4u);
  x[3] = load_left(at + 6u);
  if (HEAD > 64u) {
    x[4] = load_left(at + 8u);
    x[5] = load_left(at + 10u);
    x[6] = load_left(at + 12u);
    x[7] = load_left(at + 14u);
  }
  return x;
}

/** Adds 16 dimensions, at `at` of the tile's rows: scores of 16 x 32, and dy . v. */
fn add_scores(s: ptr<function, array<Sum, 4>>, queries: Left, gradients: Left, at: u32) {
  s[0] = subgroupMatrixMultiplyAccumulate(queries, subgroupMatrixLoad<Right, col_major>(&tile, at, STRIDE), s[0]);
  s[1] = subgroupMatrixMultiplyAccumulate(queries, subgroupMatrixLoad<Right, col_major>(&tile, at + 16u * STRIDE, STRIDE), s[1]);
  let d = VALUES + at;
  s[2] = subgroupMatrixMultiplyAccumulate(gradients, subgroupMatrixLoad<Right, col_major>(&tile, d, STRIDE), s[2]);
  s[3] = subgroupMatrixMultiplyAccumulate(gradients, subgroupMatrixLoad<Right, col_major>(&tile, d + 16u * STRIDE, STRIDE), s[3]);
}

/** A block of the result with 32 keys added: 16 dimensions, at `at` of the tile's rows. */
fn with_keys(sum: Sum, a: Left, b: Left, at: u32) -> Sum {
  let half = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, at, STRIDE), sum);
  return subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, at + 16u * STRIDE, STRIDE), half);
}

/** ds of four keys from u on, of scores and dy . v; `numbers` are the query's, the logarithm in powers of two. */
fn gradient(x: vec4<f32>, d: vec4<f32>, u: u32, from_key: u32, query: u32, numbers: vec2<f32>) -> vec2<u32> {
  let keys = vec4<u32>(0u, 1u, 2u, 3u) + u;
  let sees = (keys >= vec4<u32>(from_key)) & (keys <= vec4<u32>(query));
  let weight = select(vec4<f32>(), exp2(x * (p.scale * 1.4426950408889634) - numbers.x), sees);
  return bitcast<vec2<u32>>(vec4<f16>(weight * (d - numbers.y) * p.scale));
}

/** Writes 32 columns from `column` on of the subgroup's 16 queries. */
fn write(a: Sum, b: Sum, own: u32, start: u32, head: u32, column: u32, lane: u32) {
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, own, a, 9u);
  subgroupMatrixStore<row_major>(&scores, own + 4u, b, 9u);
  workgroupBarrier();
  for (var row = lane >> 3u; row < 16u; row += 4u) {
    let query = start + row;
    if (query < p.tokens) {
      let to = (query * p.heads + head) * (HEAD / 4u) + column / 4u + (lane & 7u);
      dq[to] = vec4<Out>(scores[own + row * 9u + (lane & 7u)]);
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
  let subgroup = t >> 5u;
  let lane = t & 31u;
  let last = p.tokens - 1u;

  // Queries, then their dy, into fragments.
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = q[(min(start + i / CHUNKS, last) * p.heads + head) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  let queries = load_rows(subgroup * 16u * STRIDE);
  workgroupBarrier();
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = dy[(min(start + i / CHUNKS, last) * p.heads + head) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  let gradients = load_rows(subgroup * 16u * STRIDE);

  // Two threads a query, eight neighbours each in turn.
  let line = lane >> 1u;
  let side = lane & 1u;
  let query = start + subgroup * 16u + line;
  let from_key = select(0x7fffffffu, u32(spans[min(query, last)].x), query < p.tokens);
  let numbers = delta[min(query, last) * p.heads + head] * vec2<f32>(1.4426950408889634, 1.0);
  let own = subgroup * 288u;
  let own_ds = subgroup * 80u;
  var o: array<Sum, 8>;
  let begin = u32(spans[min(start, last)].x);
  let end = min(start + 64u, p.tokens);
  var rows = fetch(group, begin, t);
  for (var first = begin; first < end; first += 32u) {
    workgroupBarrier();
    storageBarrier();
    keep(rows, t);
    workgroupBarrier();
    rows = fetch(group, first + 32u, t);
    var s = array<Sum, 4>(Sum(), Sum(), Sum(), Sum());
    add_scores(&s, queries[0], gradients[0], 0u);
    add_scores(&s, queries[1], gradients[1], 2u);
    add_scores(&s, queries[2], gradients[2], 4u);
    add_scores(&s, queries[3], gradients[3], 6u);
    if (HEAD > 64u) {
      add_scores(&s, queries[4], gradients[4], 8u);
      add_scores(&s, queries[5], gradients[5], 10u);
      add_scores(&s, queries[6], gradients[6], 12u);
      add_scores(&s, queries[7], gradients[7], 14u);
    }
    subgroupMatrixStore<row_major>(&scores, own, s[0], 9u);
    subgroupMatrixStore<row_major>(&scores, own + 4u, s[1], 9u);
    subgroupMatrixStore<row_major>(&scores, own + 144u, s[2], 9u);
    subgroupMatrixStore<row_major>(&scores, own + 148u, s[3], 9u);
    workgroupBarrier();
    let at = own + line * 9u + side * 2u;
    let u = first + side * 8u;
    let e0 = gradient(scores[at], scores[at + 144u], u, from_key, query, numbers);
    let e1 = gradient(scores[at + 1u], scores[at + 145u], u + 4u, from_key, query, numbers);
    let e2 = gradient(scores[at + 4u], scores[at + 148u], u + 16u, from_key, query, numbers);
    let e3 = gradient(scores[at + 5u], scores[at + 149u], u + 20u, from_key, query, numbers);
    ds[own_ds + line * 5u + side] = vec4<u32>(e0, e1);
    ds[own_ds + line * 5u + side + 2u] = vec4<u32>(e2, e3);
    workgroupBarrier();
    let a = subgroupMatrixLoad<Left, row_major>(&ds, own_ds, 5u);
    let b = subgroupMatrixLoad<Left, row_major>(&ds, own_ds + 2u, 5u);
    o[0] = with_keys(o[0], a, b, 0u);
    o[1] = with_keys(o[1], a, b, 2u);
    o[2] = with_keys(o[2], a, b, 4u);
    o[3] = with_keys(o[3], a, b, 6u);
    if (HEAD > 64u) {
      o[4] = with_keys(o[4], a, b, 8u);
      o[5] = with_keys(o[5], a, b, 10u);
      o[6] = with_keys(o[6], a, b, 12u);
      o[7] = with_keys(o[7], a, b, 14u);
    }
  }

  let first_query = start + subgroup * 16u;
  write(o[0], o[1], own, first_query, head, 0u, lane);
  write(o[2], o[3], own, first_query, head, 32u, lane);
  if (HEAD > 64u) {
    write(o[4], o[5], own, first_query, head, 64u, lane);
    write(o[6], o[7], own, first_query, head, 96u, lane);
  }
}
