// Causal attention with grouped heads over packed rows; scores are never stored.
//   y[t, h] = sum over u of softmax(scale * q[t, h] . k[u, g])[u] * v[u, g],  g = floor(h / group)
//   lse[t, h] = log of the sum over u of exp(scale * q[t, h] . k[u, g]), for the backward
// where query t sees the keys u = spans[t].x .. t; spans.x never decreases with t.
// q, y: [T, H*S]; k, v: [T, G*S]; spans: i32 [T, 2]; lse: f32 [T, H]. S is even, 256 at most.
// Grid: (H, ceil(T / 64), 1); the last queries, which see most, come first.
//
// A workgroup takes 64 queries of a head and walks over the keys they see, 32 at a time. Products go through workgroup
// memory in slices of 32 dimensions. A thread (ty, tx) holds, of the rows ty, ty+16, ty+32 and ty+48 (members a..d),
// the scores of keys 4*tx .. 4*tx+3 and of the output the dimensions 4*tx .. 4*tx+3 of each slice. The softmax is
// online: when a row's largest score grows, what was summed is scaled down.

alias In = f32;
alias Out = f32;
const SLICES: u32 = 4;

const NEVER = -1e30;

struct Params { tokens: u32, heads: u32, kvHeads: u32, group: u32, size: u32, scale: f32 }
struct Rows { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2<In>>;
@group(0) @binding(2) var<storage, read> k: array<vec2<In>>;
@group(0) @binding(3) var<storage, read> v: array<vec2<In>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec2<Out>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

// A slice of the 64 queries, then the 64 x 32 weights.
var<workgroup> rows: array<vec4<f32>, 576>;
// A slice of the 32 keys (key u at (u & 3) * 8 + u / 4, 9 apart), then of the values (in order, 8 apart).
var<workgroup> columns: array<vec4<f32>, 288>;
var<workgroup> shares: array<vec4<f32>, 128>;

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

// The output's slice: what was summed before, scaled down, plus weights times values.
fn addValues(sum: Rows, factor: vec4<f32>, slice: u32, first: u32, group: u32, lane: u32) -> Rows {
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let d = slice * 32u + tx * 4u;
  workgroupBarrier();
  columns[lane] = value(first + ty, group, d);
  columns[lane + 128u] = value(first + ty + 16u, group, d);
  workgroupBarrier();
  return addWeighted(Rows(sum.a * factor.x, sum.b * factor.y, sum.c * factor.z, sum.d * factor.w), ty, tx);
}

fn put(t: u32, head: u32, d: u32, quad: vec4<f32>) {
  if (t < p.tokens && d < p.size) {
    let i = (t * p.heads + head) * p.size / 2u + d / 2u;
    y[i] = vec2<Out>(quad.xy);
    if (d + 2u < p.size) { y[i + 1u] = vec2<Out>(quad.zw); }
  }
}

fn putRows(sum: Rows, factor: vec4<f32>, slice: u32, first: u32, head: u32, lane: u32) {
  let t = first + (lane >> 3u);
  let d = slice * 32u + (lane & 7u) * 4u;
  put(t, head, d, sum.a * factor.x);
  put(t + 16u, head, d, sum.b * factor.y);
  put(t + 32u, head, d, sum.c * factor.z);
  put(t + 48u, head, d, sum.d * factor.w);
}

fn largest(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }

// First key that a query sees; none for a query behind the last.
fn firstKey(t: u32) -> u32 { return select(0x7fffffffu, u32(spans[min(t, p.tokens - 1u)].x), t < p.tokens); }

fn visible(keys: vec4<u32>, first: u32, t: u32) -> vec4<bool> {
  return (keys >= vec4<u32>(first)) & (keys <= vec4<u32>(t));
}

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
  let none = vec4<f32>(NEVER);
  let zero = vec4<f32>();
  var most = none;
  var total = zero;
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
      let at = ty * 9u + tx;
      let slot = ((ty & 3u) * 8u + (ty >> 2u)) * 9u + tx;
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
    let keys = vec4<u32>(0u, 1u, 2u, 3u) + (first + tx * 4u);
    let seesA = visible(keys, firsts.x, t);
    let seesB = visible(keys, firsts.y, t + 16u);
    let seesC = visible(keys, firsts.z, t + 32u);
    let seesD = visible(keys, firsts.w, t + 48u);
    s.a = select(none, s.a * p.scale, seesA);
    s.b = select(none, s.b * p.scale, seesB);
    s.c = select(none, s.c * p.scale, seesC);
    s.d = select(none, s.d * p.scale, seesD);

    // The rows' largest scores: of this thread's keys, then of all 8 threads of the row.
    shares[lane] = vec4<f32>(largest(s.a), largest(s.b), largest(s.c), largest(s.d));
    workgroupBarrier();
    var top = most;
    for (var i = 0u; i < 8u; i++) { top = max(top, shares[ty * 8u + i]); }
    let factor = exp(most - top);
    most = top;

    s.a = select(zero, exp(s.a - top.x), seesA);
    s.b = select(zero, exp(s.b - top.y), seesB);
    s.c = select(zero, exp(s.c - top.z), seesC);
    s.d = select(zero, exp(s.d - top.w), seesD);
    let one = vec4<f32>(1.0);
    total = total * factor + vec4<f32>(dot(s.a, one), dot(s.b, one), dot(s.c, one), dot(s.d, one));
    rows[ty * 9u + tx] = s.a;
    rows[ty * 9u + 144u + tx] = s.b;
    rows[ty * 9u + 288u + tx] = s.c;
    rows[ty * 9u + 432u + tx] = s.d;

    o0 = addValues(o0, factor, 0u, first, group, lane);
    if (SLICES > 1u) { o1 = addValues(o1, factor, 1u, first, group, lane); }
    if (SLICES > 2u) { o2 = addValues(o2, factor, 2u, first, group, lane); }
    if (SLICES > 3u) { o3 = addValues(o3, factor, 3u, first, group, lane); }
    if (SLICES > 4u) { o4 = addValues(o4, factor, 4u, first, group, lane); }
    if (SLICES > 5u) { o5 = addValues(o5, factor, 5u, first, group, lane); }
    if (SLICES > 6u) { o6 = addValues(o6, factor, 6u, first, group, lane); }
    if (SLICES > 7u) { o7 = addValues(o7, factor, 7u, first, group, lane); }
  }

  shares[lane] = total;
  workgroupBarrier();
  total = zero;
  for (var i = 0u; i < 8u; i++) { total += shares[ty * 8u + i]; }
  if (tx == 0u) {
    let sums = most + log(total);
    if (t < p.tokens) { lse[t * p.heads + head] = sums.x; }
    if (t + 16u < p.tokens) { lse[(t + 16u) * p.heads + head] = sums.y; }
    if (t + 32u < p.tokens) { lse[(t + 32u) * p.heads + head] = sums.z; }
    if (t + 48u < p.tokens) { lse[(t + 48u) * p.heads + head] = sums.w; }
  }
  let share = 1.0 / total;
  putRows(o0, share, 0u, start, head, lane);
  if (SLICES > 1u) { putRows(o1, share, 1u, start, head, lane); }
  if (SLICES > 2u) { putRows(o2, share, 2u, start, head, lane); }
  if (SLICES > 3u) { putRows(o3, share, 3u, start, head, lane); }
  if (SLICES > 4u) { putRows(o4, share, 4u, start, head, lane); }
  if (SLICES > 5u) { putRows(o5, share, 5u, start, head, lane); }
  if (SLICES > 6u) { putRows(o6, share, 6u, start, head, lane); }
  if (SLICES > 7u) { putRows(o7, share, 7u, start, head, lane); }
}
