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
// memory, where a lane makes the weights and ds of the column of one query.

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
@group(0) @binding(7) var<storage, read_write> dk: array<Out>;
@group(0) @binding(8) var<storage, read_write> dv: array<Out>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const CHUNKS = HEAD / 8u;
// Vectors of 8 in a row of a tile, one of them more than it needs, so that rows start in other banks.
const STRIDE = CHUNKS + 1u;

// 32 queries, then their dy; at first 64 keys or values.
var<workgroup> tile: array<vec4<u32>, 64u * STRIDE>;
// Of each subgroup: 16 x 32 scores, then 16 x 32 dy . v; also what is written.
var<workgroup> scores: array<f32, 4096>;
// Of each subgroup: 16 x 32 weights, then 16 x 32 ds.
var<workgroup> weights: array<f16, 4096>;

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
  let mine = subgroup * 16u * STRIDE;
  var k0: Left; var v0: Left; var a0: Sum; var b0: Sum;
  var k1: Left; var v1: Left; var a1: Sum; var b1: Sum;
  var k2: Left; var v2: Left; var a2: Sum; var b2: Sum;
  var k3: Left; var v3: Left; var a3: Sum; var b3: Sum;
  var k4: Left; var v4: Left; var a4: Sum; var b4: Sum;
  var k5: Left; var v5: Left; var a5: Sum; var b5: Sum;
  var k6: Left; var v6: Left; var a6: Sum; var b6: Sum;
  var k7: Left; var v7: Left; var a7: Sum; var b7: Sum;
  k0 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 0u, STRIDE);
  k1 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 2u, STRIDE);
  k2 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 4u, STRIDE);
  k3 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 6u, STRIDE);
  if (HEAD > 64u) {
    k4 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 8u, STRIDE);
    k5 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 10u, STRIDE);
    k6 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 12u, STRIDE);
    k7 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 14u, STRIDE);
  }
  workgroupBarrier();
  for (var i = t; i < 64u * CHUNKS; i += 128u) {
    tile[(i / CHUNKS) * STRIDE + i % CHUNKS] = v[(min(start + i / CHUNKS, last) * p.kvHeads + group) * CHUNKS + i % CHUNKS];
  }
  workgroupBarrier();
  v0 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 0u, STRIDE);
  v1 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 2u, STRIDE);
  v2 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 4u, STRIDE);
  v3 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 6u, STRIDE);
  if (HEAD > 64u) {
    v4 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 8u, STRIDE);
    v5 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 10u, STRIDE);
    v6 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 12u, STRIDE);
    v7 = subgroupMatrixLoad<Left, row_major>(&tile, mine + 14u, STRIDE);
  }

  let own = subgroup * 1024u;
  let gradients = 32u * STRIDE;
  let u0 = start + subgroup * 16u;
  let end = u32(spans[min(start + 63u, last)].y);
  for (var h = group * p.group; h < (group + 1u) * p.group; h++) {
    for (var first = start; first < end; first += 32u) {
      workgroupBarrier();
      for (var i = t; i < 32u * CHUNKS; i += 128u) {
        let source = (min(first + i / CHUNKS, last) * p.heads + h) * CHUNKS + i % CHUNKS;
        let to = (i / CHUNKS) * STRIDE + i % CHUNKS;
        tile[to] = q[source];
        tile[gradients + to] = dy[source];
      }
      let query = first + lane;
      let numbers = delta[min(query, last) * p.heads + h];
      let from_key = select(0x7fffffffu, u32(spans[min(query, last)].x), query < p.tokens);
      workgroupBarrier();
      var s0 = Sum(); var s1 = Sum(); var d0 = Sum(); var d1 = Sum();
      s0 = subgroupMatrixMultiplyAccumulate(k0, subgroupMatrixLoad<Right, col_major>(&tile, 0u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k0, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 0u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v0, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 0u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v0, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 0u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(k1, subgroupMatrixLoad<Right, col_major>(&tile, 2u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k1, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 2u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v1, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 2u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v1, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 2u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(k2, subgroupMatrixLoad<Right, col_major>(&tile, 4u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k2, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 4u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v2, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 4u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v2, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 4u, STRIDE), d1);
      s0 = subgroupMatrixMultiplyAccumulate(k3, subgroupMatrixLoad<Right, col_major>(&tile, 6u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k3, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 6u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v3, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 6u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v3, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 6u, STRIDE), d1);
      if (HEAD > 64u) {
        s0 = subgroupMatrixMultiplyAccumulate(k4, subgroupMatrixLoad<Right, col_major>(&tile, 8u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k4, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 8u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v4, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 8u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v4, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 8u, STRIDE), d1);
        s0 = subgroupMatrixMultiplyAccumulate(k5, subgroupMatrixLoad<Right, col_major>(&tile, 10u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k5, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 10u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v5, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 10u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v5, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 10u, STRIDE), d1);
        s0 = subgroupMatrixMultiplyAccumulate(k6, subgroupMatrixLoad<Right, col_major>(&tile, 12u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k6, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 12u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v6, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 12u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v6, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 12u, STRIDE), d1);
        s0 = subgroupMatrixMultiplyAccumulate(k7, subgroupMatrixLoad<Right, col_major>(&tile, 14u, STRIDE), s0);
        s1 = subgroupMatrixMultiplyAccumulate(k7, subgroupMatrixLoad<Right, col_major>(&tile, 16u * STRIDE + 14u, STRIDE), s1);
        d0 = subgroupMatrixMultiplyAccumulate(v7, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 14u, STRIDE), d0);
        d1 = subgroupMatrixMultiplyAccumulate(v7, subgroupMatrixLoad<Right, col_major>(&tile, gradients + 16u * STRIDE + 14u, STRIDE), d1);
      }
      subgroupMatrixStore<row_major>(&scores, own, s0, 32u);
      subgroupMatrixStore<row_major>(&scores, own + 16u, s1, 32u);
      subgroupMatrixStore<row_major>(&scores, own + 512u, d0, 32u);
      subgroupMatrixStore<row_major>(&scores, own + 528u, d1, 32u);
      workgroupBarrier();
      for (var row = 0u; row < 16u; row++) {
        let u = u0 + row;
        let i = own + row * 32u + lane;
        let sees = u <= query && u >= from_key;
        let weight = select(0.0, exp(scores[i] * p.scale - numbers.x), sees);
        weights[i] = f16(weight);
        weights[i + 512u] = f16(weight * (scores[i + 512u] - numbers.y) * p.scale);
      }
      workgroupBarrier();
      let w0 = subgroupMatrixLoad<Left, row_major>(&weights, own, 32u);
      let w1 = subgroupMatrixLoad<Left, row_major>(&weights, own + 16u, 32u);
      let e0 = subgroupMatrixLoad<Left, row_major>(&weights, own + 512u, 32u);
      let e1 = subgroupMatrixLoad<Left, row_major>(&weights, own + 528u, 32u);
      a0 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 0u, STRIDE), a0);
        a0 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 0u, STRIDE), a0);
        b0 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 0u, STRIDE), b0);
        b0 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 0u, STRIDE), b0);
      a1 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 2u, STRIDE), a1);
        a1 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 2u, STRIDE), a1);
        b1 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 2u, STRIDE), b1);
        b1 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 2u, STRIDE), b1);
      a2 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 4u, STRIDE), a2);
        a2 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 4u, STRIDE), a2);
        b2 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 4u, STRIDE), b2);
        b2 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 4u, STRIDE), b2);
      a3 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 6u, STRIDE), a3);
        a3 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 6u, STRIDE), a3);
        b3 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 6u, STRIDE), b3);
        b3 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 6u, STRIDE), b3);
      if (HEAD > 64u) {
        a4 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 8u, STRIDE), a4);
        a4 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 8u, STRIDE), a4);
        b4 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 8u, STRIDE), b4);
        b4 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 8u, STRIDE), b4);
        a5 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 10u, STRIDE), a5);
        a5 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 10u, STRIDE), a5);
        b5 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 10u, STRIDE), b5);
        b5 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 10u, STRIDE), b5);
        a6 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 12u, STRIDE), a6);
        a6 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 12u, STRIDE), a6);
        b6 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 12u, STRIDE), b6);
        b6 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 12u, STRIDE), b6);
        a7 = subgroupMatrixMultiplyAccumulate(e0, subgroupMatrixLoad<Right, row_major>(&tile, 14u, STRIDE), a7);
        a7 = subgroupMatrixMultiplyAccumulate(e1, subgroupMatrixLoad<Right, row_major>(&tile, 16u * STRIDE + 14u, STRIDE), a7);
        b7 = subgroupMatrixMultiplyAccumulate(w0, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 14u, STRIDE), b7);
        b7 = subgroupMatrixMultiplyAccumulate(w1, subgroupMatrixLoad<Right, row_major>(&tile, gradients + 16u * STRIDE + 14u, STRIDE), b7);
      }
    }
  }
  workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, a0, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, a1, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dk[((u0 + row) * p.kvHeads + group) * HEAD + 0u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, b0, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, b1, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dv[((u0 + row) * p.kvHeads + group) * HEAD + 0u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
  workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, a2, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, a3, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dk[((u0 + row) * p.kvHeads + group) * HEAD + 32u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, b2, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, b3, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dv[((u0 + row) * p.kvHeads + group) * HEAD + 32u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
  if (HEAD > 64u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, a4, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, a5, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dk[((u0 + row) * p.kvHeads + group) * HEAD + 64u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, b4, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, b5, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dv[((u0 + row) * p.kvHeads + group) * HEAD + 64u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, a6, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, a7, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dk[((u0 + row) * p.kvHeads + group) * HEAD + 96u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&scores, own, b6, 32u);
    subgroupMatrixStore<row_major>(&scores, own + 16u, b7, 32u);
    workgroupBarrier();
    for (var row = 0u; row < 16u; row++) {
      if (u0 + row < p.tokens) {
        dv[((u0 + row) * p.kvHeads + group) * HEAD + 96u + lane] = Out(scores[own + row * 32u + lane]);
      }
    }
  }
}
