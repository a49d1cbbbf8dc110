// Gradients of attention with respect to keys and values, on tensor cores: f16 operands, f32 sums, subgroups of 32.
//   dv[u, g] = sum over h, t of P[t, u] * dy[t, h],  P = exp(scale * q[t, h] . k[u, g] - delta[t, h].x)
//   dk[u, g] = scale * sum over h, t of ds[t, u] * q[t, h],  ds = P * (dy[t, h] . v[u, g] - delta[t, h].y)
// over the query heads h with floor(h / group) = g and the queries t = u .. spans[u].y - 1 that see the key;
// spans.y never decreases with u.
// dy, q: f16 [T, H*HEAD]; k, v: f16 [T, G*HEAD]; delta: f32 [T, H, 2] from attention_delta.wgsl; spans: i32 [T, 2];
// dk, dv: [T, G*HEAD]. HEAD is 64 or 128.
// Grid: (G, ceil(T / 64), 1); the first keys, which are seen most, come first.
//
// A workgroup takes 64 keys, each of its 4 subgroups 16 of them, and walks over the heads of the group and the queries
// that see the keys, 32 at a time. Keys and values stay in fragments; scores and dy . v, turned, pass through workgroup
// memory, where two threads a key make weights and ds of them. Sums and fragments take nearly all registers, so that
// nothing is fetched ahead: the other workgroups of a core work while one waits.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Out = f16;
const HEAD: u32 = 128; // 64 or 128

struct Params { tokens: u32, heads: u32, kvHeads: u32, group: u32, size: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> q: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> v: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> delta: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<Out>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<Out>>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const CHUNKS = HEAD / 8u;
// Vectors of 8 in a row of a tile, one of them more than it needs, so that rows start in other banks.
const STRIDE = CHUNKS + 1u;
const GRADIENTS = 32u * STRIDE;

// 32 queries, then their dy; at first 64 keys or values.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// Of each subgroup: 16 x 32 scores, 9 vectors a row, then 16 x 32 dy . v; also what is written.
var<workgroup> scores: array<vec4<f32>, 1152>;
// Of each subgroup: 16 x 32 weights, 5 vectors a row, then 16 x 32 ds.
var<workgroup> weights: array<vec4<u32>, 640>;
// Of each query: the logarithm of its sum in powers of two, dy . y, and the first key it sees.
var<workgroup> lse: array<vec4<f32>, 8>;
var<workgroup> dots: array<vec4<f32>, 8>;
var<workgroup> from_keys: array<vec4<u32>, 8>;

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

/** Adds 16 dimensions, at `at` of the tile's rows: scores of 16 keys x 32 queries, and v . dy. */
fn add_scores(s: ptr<function, array<Sum, 4>>, keys: Left, values: Left, at: u32) {
  s[0] = subgroupMatrixMultiplyAccumulate(keys, subgroupMatrixLoad<Right, col_major>(&tile, at, STRIDE), s[0]);
  s[1] = subgroupMatrixMultiplyAccumulate(keys, subgroupMatrixLoad<Right, col_major>(&tile, at + 16u * STRIDE, STRIDE), s[1]);
  let d = GRADIENTS + at;
  s[2] = subgroupMatrixMultiplyAccumulate(values, subgroupMatrixLoad<Right, col_major>(&tile, d, STRIDE), s[2]);
  s[3] = subgroupMatrixMultiplyAccumulate(values, subgroupMatrixLoad<Right, col_major>(&tile, d + 16u * STRIDE, STRIDE), s[3]);
}

/** A block of a result with 32 queries added: 16 dimensions, at `at` of the tile. */
fn with_rows(sum: Sum, a: Left, b: Left, at: u32) -> Sum {
  let half = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, at, STRIDE), sum);
  return subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, at + 16u * STRIDE, STRIDE), half);
}

/** Weights and ds of key u and the queries `four` of those from `first` on, as f16: scores x, dy . v d. */
fn weigh(x: vec4<f32>, d: vec4<f32>, u: u32, first: u32, four: u32) -> vec4<u32> {
  let queries = vec4<u32>(0u, 1u, 2u, 3u) + first + 4u * four;
  let sees = (vec4<u32>(u) <= queries) & (vec4<u32>(u) >= from_keys[four]);
  let weight = select(vec4<f32>(), exp2(x * (p.scale * 1.4426950408889634) - lse[four]), sees);
  let ds = weight * (d - dots[four]) * p.scale;
  return vec4<u32>(bitcast<vec2<u32>>(vec4<f16>(weight)), bitcast<vec2<u32>>(vec4<f16>(ds)));
}

/** Puts 32 columns of a result where the subgroup's scores are. */
fn stage(a: Sum, b: Sum, own: u32) {
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, own, a, 9u);
  subgroupMatrixStore<row_major>(&scores, own + 4u, b, 9u);
  workgroupBarrier();
}

fn write_dk(a: Sum, b: Sum, own: u32, first: u32, group: u32, column: u32, lane: u32) {
  stage(a, b, own);
  for (var row = lane >> 3u; row < 16u; row += 4u) {
    let to = ((first + row) * p.kvHeads + group) * (HEAD / 4u) + column / 4u + (lane & 7u);
    if (first + row < p.tokens) { dk[to] = vec4<Out>(scores[own + row * 9u + (lane & 7u)]); }
  }
}

fn write_dv(a: Sum, b: Sum, own: u32, first: u32, group: u32, column: u32, lane: u32) {
  stage(a, b, own);
  for (var row = lane >> 3u; row < 16u; row += 4u) {
    let to = ((first + row) * p.kvHeads + group) * (HEAD / 4u) + column / 4u + (lane & 7u);
    if (first + row < p.tokens) { dv[to] = vec4<Out>(scores[own + row * 9u + (lane & 7u)]); }
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let group = workgroup.x;
  let start = workgroup.y * 64u;
  let subgroup = t >> 5u;
  let lane = t & 31u;
  let last = p.tokens - 1u;

  // Keys, then values, into fragments.
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = k[(min(start + i / CHUNKS, last) * p.kvHeads + group) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  let keys = load_rows(subgroup * 16u * STRIDE);
  workgroupBarrier();
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = v[(min(start + i / CHUNKS, last) * p.kvHeads + group) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  let values = load_rows(subgroup * 16u * STRIDE);

  // Two threads a key, eight neighbours each in turn.
  let line = lane >> 1u;
  let side = lane & 1u;
  let first_key = start + subgroup * 16u;
  let u = first_key + line;
  let own = subgroup * 288u;
  let own_weights = subgroup * 160u;
  var a: array<Sum, 8>;
  var b: array<Sum, 8>;
  let end = u32(spans[min(start + 63u, last)].y);
  for (var h = group * p.group; h < (group + 1u) * p.group; h++) {
    for (var first = start; first < end; first += 32u) {
      workgroupBarrier();
      for (var i = t; i < 32u * CHUNKS; i += 128u) {
        let source = (min(first + i / CHUNKS, last) * p.heads + h) * CHUNKS + i % CHUNKS;
        let to = (i / CHUNKS) * STRIDE + i % CHUNKS;
        tile[to] = q[source];
        tile[GRADIENTS + to] = dy[source];
      }
      if (t < 32u) {
        let query = min(first + t, last);
        let numbers = delta[query * p.heads + h];
        lse[t >> 2u][t & 3u] = numbers.x * 1.4426950408889634;
        dots[t >> 2u][t & 3u] = numbers.y;
        from_keys[t >> 2u][t & 3u] = select(0x7fffffffu, u32(spans[query].x), first + t < p.tokens);
      }
      workgroupBarrier();
      var s = array<Sum, 4>(Sum(), Sum(), Sum(), Sum());
      add_scores(&s, keys[0], values[0], 0u);
      add_scores(&s, keys[1], values[1], 2u);
      add_scores(&s, keys[2], values[2], 4u);
      add_scores(&s, keys[3], values[3], 6u);
      if (HEAD > 64u) {
        add_scores(&s, keys[4], values[4], 8u);
        add_scores(&s, keys[5], values[5], 10u);
        add_scores(&s, keys[6], values[6], 12u);
        add_scores(&s, keys[7], values[7], 14u);
      }
      subgroupMatrixStore<row_major>(&scores, own, s[0], 9u);
      subgroupMatrixStore<row_major>(&scores, own + 4u, s[1], 9u);
      subgroupMatrixStore<row_major>(&scores, own + 144u, s[2], 9u);
      subgroupMatrixStore<row_major>(&scores, own + 148u, s[3], 9u);
      workgroupBarrier();
      let at = own + line * 9u + side * 2u;
      let e0 = weigh(scores[at], scores[at + 144u], u, first, side * 2u);
      let e1 = weigh(scores[at + 1u], scores[at + 145u], u, first, side * 2u + 1u);
      let e2 = weigh(scores[at + 4u], scores[at + 148u], u, first, side * 2u + 4u);
      let e3 = weigh(scores[at + 5u], scores[at + 149u], u, first, side * 2u + 5u);
      let to = own_weights + line * 5u + side;
      weights[to] = vec4<u32>(e0.xy, e1.xy);
      weights[to + 2u] = vec4<u32>(e2.xy, e3.xy);
      weights[to + 80u] = vec4<u32>(e0.zw, e1.zw);
      weights[to + 82u] = vec4<u32>(e2.zw, e3.zw);
      workgroupBarrier();
      let w0 = subgroupMatrixLoad<Left, row_major>(&weights, own_weights, 5u);
      let w1 = subgroupMatrixLoad<Left, row_major>(&weights, own_weights + 2u, 5u);
      b[0] = with_rows(b[0], w0, w1, GRADIENTS);
      b[1] = with_rows(b[1], w0, w1, GRADIENTS + 2u);
      b[2] = with_rows(b[2], w0, w1, GRADIENTS + 4u);
      b[3] = with_rows(b[3], w0, w1, GRADIENTS + 6u);
      if (HEAD > 64u) {
        b[4] = with_rows(b[4], w0, w1, GRADIENTS + 8u);
        b[5] = with_rows(b[5], w0, w1, GRADIENTS + 10u);
        b[6] = with_rows(b[6], w0, w1, GRADIENTS + 12u);
        b[7] = with_rows(b[7], w0, w1, GRADIENTS + 14u);
      }
      let d0 = subgroupMatrixLoad<Left, row_major>(&weights, own_weights + 80u, 5u);
      let d1 = subgroupMatrixLoad<Left, row_major>(&weights, own_weights + 82u, 5u);
      a[0] = with_rows(a[0], d0, d1, 0u);
      a[1] = with_rows(a[1], d0, d1, 2u);
      a[2] = with_rows(a[2], d0, d1, 4u);
      a[3] = with_rows(a[3], d0, d1, 6u);
      if (HEAD > 64u) {
        a[4] = with_rows(a[4], d0, d1, 8u);
        a[5] = with_rows(a[5], d0, d1, 10u);
        a[6] = with_rows(a[6], d0, d1, 12u);
        a[7] = with_rows(a[7], d0, d1, 14u);
      }
    }
  }

  write_dk(a[0], a[1], own, first_key, group, 0u, lane);
  write_dv(b[0], b[1], own, first_key, group, 0u, lane);
  write_dk(a[2], a[3], own, first_key, group, 32u, lane);
  write_dv(b[2], b[3], own, first_key, group, 32u, lane);
  if (HEAD > 64u) {
    write_dk(a[4], a[5], own, first_key, group, 64u, lane);
    write_dv(b[4], b[5], own, first_key, group, 64u, lane);
    write_dk(a[6], a[7], own, first_key, group, 96u, lane);
    write_dv(b[6], b[7], own, first_key, group, 96u, lane);
  }
}
