// Gradient of attention with respect to queries, on tensor cores: f16 operands, f32 sums, subgroups of 32.
//   dq[t, h] = scale * sum over u of ds[t, u] * k[u, g],  ds = P * (dy[t, h] . v[u, g] - delta[t, h].y),
//   P[t, u] = exp(scale * q[t, h] . k[u, g] - delta[t, h].x),  g = floor(h / group)
// over the keys u = spans[t].x .. t that the query sees; spans.x never decreases with t.
// dy, q: f16 [T, H*HEAD]; k, v: f16 [T, G*HEAD]; delta: f32 [T, H, 2] from attention_delta.wgsl; spans: i32 [T, 2];
// dq: [T, H*HEAD]. HEAD is 64 or 128.
// Grid: (H, ceil(T / 64), 1); the last queries, which see most, come first.
//
// A workgroup takes 64 queries, each of its 4 subgroups 16 of them, and walks over the keys they see, 32 at a time.
// Queries and their dy stay in fragments; scores and dy . v pass through workgroup memory, where a lane makes ds of the
// column of one key.

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
@group(0) @binding(3) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> v: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> delta: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<Out>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const CHUNKS = HEAD / 8u;
// Vectors of 8 in a row of a tile, one of them more than it needs, so that rows start in other banks.
const STRIDE = CHUNKS + 1u;

// 32 keys, then 32 values; at first 64 queries or their dy.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// Of each subgroup: 16 x 32 scores, then 16 x 32 dy . v; also what is written.
var<workgroup> scores: array<f32, 4096>;
// Of each subgroup: 16 x 32 ds.
var<workgroup> ds: array<f16, 2048>;
// Of each query: lse, dy . y, first key.
var<workgroup> about: array<vec4<f32>, 64>;

fn write(start: u32, head: u32, column: u32, t: u32) {
  let own = (t >> 5u) * 1024u;
  for (var row = 0u; row < 16u; row++) {
    let query = start + (t >> 5u) * 16u + row;
    if (query < p.tokens) {
      dq[(query * p.heads + head) * HEAD + column + (t & 31u)] = Out(scores[own + row * 32u + (t & 31u)]);
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
  if (t < 64u) {
    let query = start + t;
    let i = min(query, last);
    let numbers = delta[i * p.heads + head];
    about[t] = vec4<f32>(numbers, bitcast<f32>(select(0x7fffffff, spans[i].x, query < p.tokens)), 0.0);
  }

  // Queries, then their dy, into fragments.
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = q[(min(start + i / CHUNKS, last) * p.heads + head) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  let mine = subgroup * 16u * STRIDE;
  var q0: Left; var g0: Left; var o0: Sum;
  var q1: Left; var g1: Left; var o1: Sum;
  var q2: Left; var g2: Left; var o2: Sum;
  var q3: Left; var g3: Left; var o3: Sum;
  var q4: Left; var g4: Left; var o4: Sum;
  var q5: Left; var g5: Left; var o5: Sum;
  var q6: Left; var g6: Left; var o6: Sum;
  var q7: Left; var g7: Left; var o7: Sum;
  q0 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 0u, STRIDE);
  q1 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 2u, STRIDE);
  q2 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 4u, STRIDE);
  q3 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 6u, STRIDE);
  if (HEAD > 64u) {
    q4 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 8u, STRIDE);
    q5 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 10u, STRIDE);
    q6 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 12u, STRIDE);
    q7 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 14u, STRIDE);
  }
  workgroupBarrier();
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = dy[(min(start + i / CHUNKS, last) * p.heads + head) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  g0 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 0u, STRIDE);
  g1 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 2u, STRIDE);
  g2 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 4u, STRIDE);
  g3 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 6u, STRIDE);
  if (HEAD > 64u) {
    g4 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 8u, STRIDE);
    g5 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 10u, STRIDE);
    g6 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 12u, STRIDE);
    g7 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 14u, STRIDE);
  }

  let own = subgroup * 1024u;
  let own_ds = subgroup * 512u;
  let values = 32u * STRIDE;
  let end = min(start + 64u, p.tokens);
  for (var first = u32(spans[min(start, last)].x); first < end; first += 32u) {
    workgroupBarrier();
    for (var i = t; i < 32u * CHUNKS; i += 128u) {
      let source = (min(first + i / CHUNKS, last) * p.kvHeads + group) * CHUNKS + i % CHUNKS;
      let to = (i / CHUNKS) * STRIDE + i % CHUNKS;
      tile[to] = k[source];
      tile[values + to] = v[source];
    }
    workgroupBarrier();
    var s0 = Sum(); var s1 = Sum(); var d0 = Sum(); var d1 = Sum();
    s0 = subgroupMatrixMultiplyAccumulate(q0, subgroupMatrixLoad<Right, col_major>(&tile, 0u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q0, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 0u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g0, subgroupMatrixLoad<Right, col_major>(&tile, values + 0u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g0, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 0u, STRIDE), d1);
    s0 = subgroupMatrixMultiplyAccumulate(q1, subgroupMatrixLoad<Right, col_major>(&tile, 2u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q1, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 2u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g1, subgroupMatrixLoad<Right, col_major>(&tile, values + 2u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g1, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 2u, STRIDE), d1);
    s0 = subgroupMatrixMultiplyAccumulate(q2, subgroupMatrixLoad<Right, col_major>(&tile, 4u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q2, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 4u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g2, subgroupMatrixLoad<Right, col_major>(&tile, values + 4u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g2, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 4u, STRIDE), d1);
    s0 = subgroupMatrixMultiplyAccumulate(q3, subgroupMatrixLoad<Right, col_major>(&tile, 6u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q3, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 6u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g3, subgroupMatrixLoad<Right, col_major>(&tile, values + 6u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g3, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 6u, STRIDE), d1);
    if (HEAD > 64u) {
      s0 = subgroupMatrixMultiplyAccumulate(q4, subgroupMatrixLoad<Right, col_major>(&tile, 8u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q4, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 8u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g4, subgroupMatrixLoad<Right, col_major>(&tile, values + 8u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g4, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 8u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(q5, subgroupMatrixLoad<Right, col_major>(&tile, 10u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q5, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 10u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g5, subgroupMatrixLoad<Right, col_major>(&tile, values + 10u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g5, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 10u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(q6, subgroupMatrixLoad<Right, col_major>(&tile, 12u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q6, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 12u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g6, subgroupMatrixLoad<Right, col_major>(&tile, values + 12u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g6, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 12u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(q7, subgroupMatrixLoad<Right, col_major>(&tile, 14u, STRIDE), s0);
      s1 = subgroupMatrixMultiplyAccumulate(q7, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 14u, STRIDE), s1);
      d0 = subgroupMatrixMultiplyAccumulate(g7, subgroupMatrixLoad<Right, col_major>(&tile, values + 14u, STRIDE), d0);
      d1 = subgroupMatrixMultiplyAccumulate(g7, subgroupMatrixLoad<Right, col_major>(&tile, values + 16u * STRIDE + 14u, STRIDE), d1);
    }
    subgroupMatrixStore<row_major>(&scores, own, s0, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, s1, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 512u, d0, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 528u, d1, 32u);
    workgroupBarrier();
    let u = first + lane;
    for (var row = 0u; row < 16u; row++) {
      let numbers = about[subgroup * 16u + row];
      let sees = u <= start + subgroup * 16u + row && u >= bitcast<u32>(numbers.z);
      let i = own + row * 32u + lane;
      let weight = select(0.0, exp(scores[i] * p.scale - numbers.x), sees);
      ds[own_ds + row * 32u + lane] = f16(weight * (scores[i + 512u] - numbers.y) * p.scale);
    }
    workgroupBarrier();
    let a = subgroupMatrixLoad<Left, row_major>(&ds, own_ds, 32u);
    let b = subgroupMatrixLoad<Left, row_major>(&ds, own_ds + 16u, 32u);
    o0 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 0u, STRIDE), o0);
      o0 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 0u, STRIDE), o0);
    o1 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 2u, STRIDE), o1);
      o1 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 2u, STRIDE), o1);
    o2 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 4u, STRIDE), o2);
      o2 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 4u, STRIDE), o2);
    o3 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 6u, STRIDE), o3);
      o3 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 6u, STRIDE), o3);
    if (HEAD > 64u) {
      o4 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 8u, STRIDE), o4);
      o4 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 8u, STRIDE), o4);
      o5 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 10u, STRIDE), o5);
      o5 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 10u, STRIDE), o5);
      o6 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 12u, STRIDE), o6);
      o6 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 12u, STRIDE), o6);
      o7 = subgroupMatrixMultiplyAccumulate(a, subgroupMatrixLoad<Right, row_major>(&tile, 14u, STRIDE), o7);
      o7 = subgroupMatrixMultiplyAccumulate(b, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 14u, STRIDE), o7);
    }
  }
  workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, o0, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, o1, 32u);
    workgroupBarrier();
    write(start, head, 0u, t);
  workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, o2, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, o3, 32u);
    workgroupBarrier();
    write(start, head, 32u, t);
  if (HEAD > 64u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, o4, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, o5, 32u);
    workgroupBarrier();
    write(start, head, 64u, t);
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, o6, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, o7, 32u);
    workgroupBarrier();
    write(start, head, 96u, t);
  }
}
