// Gradient of attention with respect to the queries; the probabilities P are computed again.
//   dq[t, h] = scale * sum over u of ds[t, u] * k[u, g],  ds = P * (dy[t, h] . v[u, g] - delta[t, h].y),
//   P = exp(scale * q[t, h] . k[u, g] - delta[t, h].x),  g = floor(h / group)
// where query t sees the keys u = spans[t].x .. t; spans.x never decreases with t.
// dy, q, dq: [T, H*S]; k, v: [T, G*S]; spans: i32 [T, 2]; delta: f32 [T, H, 2] from
// attention_delta.wgsl. S is even, 256 at most.
// Grid: (H, ceil(T / 64), 1); the last queries, which see most, come first.
//
// Tiles and threads as in attention.wgsl: 64 queries, 32 keys, slices of 32 dimensions; a thread holds 4 rows by 4.

alias Grad = f32;
alias In = f32;
alias Out = f32;
const SLICES: u32 = 4;


struct Params { tokens: u32, heads: u32, kvHeads: u32, group: u32, size: u32, scale: f32 }
struct Rows { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec2<Grad>>;
@group(0) @binding(2) var<storage, read> q: array<vec2<In>>;
@group(0) @binding(3) var<storage, read> k: array<vec2<In>>;
@group(0) @binding(4) var<storage, read> v: array<vec2<In>>;
@group(0) @binding(5) var<storage, read> delta: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec2<Out>>;

// A slice of the 64 queries or their dy, then the 64 x 32 weights ds.
var<workgroup> rows: array<vec4<f32>, 576>;
// A slice of the 32 keys or values: row u at (u & 3) * 8 + u / 4, 9 apart, for dots; in order, 8 apart, for sums.
var<workgroup> columns: array<vec4<f32>, 288>;

// Four dimensions of a head's vector from d on, as two pairs; 0 behind the last. Nothing behind a tensor is read.
fn quadAt(row: u32, d: u32) -> u32 { return (row * p.size + min(d, p.size - 2u)) / 2u; }
fn nextPair(i: u32, d: u32) -> u32 { return i + select(0u, 1u, d + 2u < p.size); }
fn quadOf(pair: vec2<f32>, next: vec2<f32>, d: u32) -> vec4<f32> {
  return select(vec4<f32>(), vec4<f32>(pair, select(vec2<f32>(), next, d + 2u < p.size)), d < p.size);
}

fn query(t: u32, head: u32, d: u32) -> vec4<f32> {
  let i = quadAt(min(t, p.tokens - 1u) * p.heads + head, d);
  return quadOf(vec2<f32>(q[i]), vec2<f32>(q[nextPair(i, d)]), d);
}

fn gradient(t: u32, head: u32, d: u32) -> vec4<f32> {
  let i = quadAt(min(t, p.tokens - 1u) * p.heads + head, d);
  return quadOf(vec2<f32>(dy[i]), vec2<f32>(dy[nextPair(i, d)]), d);
}

fn key(u: u32, head: u32, d: u32) -> vec4<f32> {
  let i = quadAt(min(u, p.tokens - 1u) * p.kvHeads + head, d);
  return quadOf(vec2<f32>(k[i]), vec2<f32>(k[nextPair(i, d)]), d);
}

fn value(u: u32, head: u32, d: u32) -> vec4<f32> {
  let i = quadAt(min(u, p.tokens - 1u) * p.kvHeads + head, d);
  return quadOf(vec2<f32>(v[i]), vec2<f32>(v[nextPair(i, d)]), d);
}

// sum[row][column] + the products of the slice.
fn addDots(sum: Rows, ty: u32, tx: u32) -> Rows {
  var s = sum;
  for (var i = 0u; i < 8u; i++) {
    let kx = columns[tx * 9u + i];
    let ky = columns[tx * 9u + 72u + i];
    let kz = columns[tx * 9u + 144u + i];
    let kw = columns[tx * 9u + 216u + i];
    let qa = rows[ty * 9u + i];
    s.a += vec4<f32>(dot(qa, kx), dot(qa, ky), dot(qa, kz), dot(qa, kw));
    let qb = rows[ty * 9u + 144u + i];
    s.b += vec4<f32>(dot(qb, kx), dot(qb, ky), dot(qb, kz), dot(qb, kw));
    let qc = rows[ty * 9u + 288u + i];
    s.c += vec4<f32>(dot(qc, kx), dot(qc, ky), dot(qc, kz), dot(qc, kw));
    let qd = rows[ty * 9u + 432u + i];
    s.d += vec4<f32>(dot(qd, kx), dot(qd, ky), dot(qd, kz), dot(qd, kw));
  }
  return s;
}

// sum[row][dimension] + the weights in `rows` times the slice of the 32 rows in `columns`.
fn addWeighted(sum: Rows, ty: u32, tx: u32) -> Rows {
  var s = sum;
  for (var i = 0u; i < 8u; i++) {
    let vx = columns[i * 32u + tx];
    let vy = columns[i * 32u + 8u + tx];
    let vz = columns[i * 32u + 16u + tx];
    let vw = columns[i * 32u + 24u + tx];
    let wa = rows[ty * 9u + i];
    s.a += wa.x * vx + wa.y * vy + wa.z * vz + wa.w * vw;
    let wb = rows[ty * 9u + 144u + i];
    s.b += wb.x * vx + wb.y * vy + wb.z * vz + wb.w * vw;
    let wc = rows[ty * 9u + 288u + i];
    s.c += wc.x * vx + wc.y * vy + wc.z * vz + wc.w * vw;
    let wd = rows[ty * 9u + 432u + i];
    s.d += wd.x * vx + wd.y * vy + wd.z * vz + wd.w * vw;
  }
  return s;
}

// The gradient's slice plus weights times keys.
fn addKeys(sum: Rows, slice: u32, first: u32, group: u32, lane: u32) -> Rows {
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let d = slice * 32u + tx * 4u;
  workgroupBarrier();
  columns[lane] = key(first + ty, group, d);
  columns[lane + 128u] = key(first + ty + 16u, group, d);
  workgroupBarrier();
  return addWeighted(sum, ty, tx);
}

fn put(t: u32, head: u32, d: u32, quad: vec4<f32>) {
  if (t < p.tokens && d < p.size) {
    let i = (t * p.heads + head) * p.size / 2u + d / 2u;
    dq[i] = vec2<Out>(quad.xy);
    if (d + 2u < p.size) { dq[i + 1u] = vec2<Out>(quad.zw); }
  }
}

fn putRows(sum: Rows, slice: u32, first: u32, head: u32, lane: u32) {
  let t = first + (lane >> 3u);
  let d = slice * 32u + (lane & 7u) * 4u;
  put(t, head, d, sum.a * p.scale);
  put(t + 16u, head, d, sum.b * p.scale);
  put(t + 32u, head, d, sum.c * p.scale);
  put(t + 48u, head, d, sum.d * p.scale);
}

// First key that a query sees; none for a query behind the last.
fn firstKey(t: u32) -> u32 { return select(0x7fffffffu, u32(spans[min(t, p.tokens - 1u)].x), t < p.tokens); }

fn visible(keys: vec4<u32>, first: u32, t: u32) -> vec4<bool> {
  return (keys >= vec4<u32>(first)) & (keys <= vec4<u32>(t));
}

// Log of the sum of exponentials, and delta, of a query.
fn statistics(t: u32, head: u32) -> vec2<f32> { return delta[min(t, p.tokens - 1u) * p.heads + head]; }

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = workgroup.x;
  let group = head / p.group;
  let start = (workgroups.y - 1u - workgroup.y) * 64u;
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let t = start + ty;
  let firsts = vec4<u32>(firstKey(t), firstKey(t + 16u), firstKey(t + 32u), firstKey(t + 48u));
  let ofA = statistics(t, head);
  let ofB = statistics(t + 16u, head);
  let ofC = statistics(t + 32u, head);
  let ofD = statistics(t + 48u, head);
  let zero = vec4<f32>();
  let at = ty * 9u + tx;
  let slot = ((ty & 3u) * 8u + (ty >> 2u)) * 9u + tx;
  var o0: Rows;
  var o1: Rows;
  var o2: Rows;
  var o3: Rows;
  var o4: Rows;
  var o5: Rows;
  var o6: Rows;
  var o7: Rows;

  let end = min(start + 64u, p.tokens);
  for (var first = firstKey(start); first < end; first += 32u) {
    var s = Rows(zero, zero, zero, zero);
    for (var slice = 0u; slice < SLICES; slice++) {
      let d = slice * 32u + tx * 4u;
      workgroupBarrier();
      rows[at] = query(t, head, d);
      rows[at + 144u] = query(t + 16u, head, d);
      rows[at + 288u] = query(t + 32u, head, d);
      rows[at + 432u] = query(t + 48u, head, d);
      columns[slot] = key(first + ty, group, d);
      columns[slot + 36u] = key(first + ty + 16u, group, d);
      workgroupBarrier();
      s = addDots(s, ty, tx);
    }
    var dp = Rows(zero, zero, zero, zero);
    for (var slice = 0u; slice < SLICES; slice++) {
      let d = slice * 32u + tx * 4u;
      workgroupBarrier();
      rows[at] = gradient(t, head, d);
      rows[at + 144u] = gradient(t + 16u, head, d);
      rows[at + 288u] = gradient(t + 32u, head, d);
      rows[at + 432u] = gradient(t + 48u, head, d);
      columns[slot] = value(first + ty, group, d);
      columns[slot + 36u] = value(first + ty + 16u, group, d);
      workgroupBarrier();
      dp = addDots(dp, ty, tx);
    }
    let keys = vec4<u32>(0u, 1u, 2u, 3u) + (first + tx * 4u);
    let da = exp(s.a * p.scale - ofA.x) * (dp.a - ofA.y);
    let db = exp(s.b * p.scale - ofB.x) * (dp.b - ofB.y);
    let dc = exp(s.c * p.scale - ofC.x) * (dp.c - ofC.y);
    let dd = exp(s.d * p.scale - ofD.x) * (dp.d - ofD.y);
    workgroupBarrier();
    rows[at] = select(zero, da, visible(keys, firsts.x, t));
    rows[at + 144u] = select(zero, db, visible(keys, firsts.y, t + 16u));
    rows[at + 288u] = select(zero, dc, visible(keys, firsts.z, t + 32u));
    rows[at + 432u] = select(zero, dd, visible(keys, firsts.w, t + 48u));
    o0 = addKeys(o0, 0u, first, group, lane);
    if (SLICES > 1u) { o1 = addKeys(o1, 1u, first, group, lane); }
    if (SLICES > 2u) { o2 = addKeys(o2, 2u, first, group, lane); }
    if (SLICES > 3u) { o3 = addKeys(o3, 3u, first, group, lane); }
    if (SLICES > 4u) { o4 = addKeys(o4, 4u, first, group, lane); }
    if (SLICES > 5u) { o5 = addKeys(o5, 5u, first, group, lane); }
    if (SLICES > 6u) { o6 = addKeys(o6, 6u, first, group, lane); }
    if (SLICES > 7u) { o7 = addKeys(o7, 7u, first, group, lane); }
  }

  putRows(o0, 0u, start, head, lane);
  if (SLICES > 1u) { putRows(o1, 1u, start, head, lane); }
  if (SLICES > 2u) { putRows(o2, 2u, start, head, lane); }
  if (SLICES > 3u) { putRows(o3, 3u, start, head, lane); }
  if (SLICES > 4u) { putRows(o4, 4u, start, head, lane); }
  if (SLICES > 5u) { putRows(o5, 5u, start, head, lane); }
  if (SLICES > 6u) { putRows(o6, 6u, start, head, lane); }
  if (SLICES > 7u) { putRows(o7, 7u, start, head, lane); }
}
