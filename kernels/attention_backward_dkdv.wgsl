// Gradients of attention with respect to keys and values; the probabilities P are computed again.
//   dv[u, g] = sum over h, t of P[t, u] * dy[t, h],  P = exp(scale * q[t, h] . k[u, g] - delta[t, h].x)
//   dk[u, g] = scale * sum over h, t of ds[t, u] * q[t, h],  ds = P * (dy[t, h] . v[u, g] - delta[t, h].y)
// over the query heads h with floor(h / group) = g and the queries t = u .. spans[u].y - 1 that see the key;
// spans.y never decreases with u.
// dy, q: [T, H*S]; k, v, dk, dv: [T, G*S]; spans: i32 [T, 2]; delta: f32 [T, H, 2] from
// attention_delta.wgsl. S is even, 256 at most; H is a multiple of G.
// Grid: (G, ceil(T / 64), ceil(S / 128)); z is the part of 128 dimensions whose sums a workgroup holds.
//
// Tiles and threads as in attention.wgsl with the roles changed: the rows are 64 keys, the columns 32 queries.

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
@group(0) @binding(7) var<storage, read_write> dk: array<vec2<Out>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec2<Out>>;

// A slice of the 64 keys or values, then the 64 x 32 weights P or ds.
var<workgroup> rows: array<vec4<f32>, 576>;
// A slice of the 32 queries or their dy: row t at (t & 3) * 8 + t / 4, 9 apart, for dots; in order, 8 apart, for sums.
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

// sum + the weights times a slice of dy.
fn addGradients(sum: Rows, slice: u32, first: u32, head: u32, lane: u32) -> Rows {
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let d = slice * 32u + tx * 4u;
  workgroupBarrier();
  columns[lane] = gradient(first + ty, head, d);
  columns[lane + 128u] = gradient(first + ty + 16u, head, d);
  workgroupBarrier();
  return addWeighted(sum, ty, tx);
}

// sum + the weights times a slice of the queries.
fn addQueries(sum: Rows, slice: u32, first: u32, head: u32, lane: u32) -> Rows {
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let d = slice * 32u + tx * 4u;
  workgroupBarrier();
  columns[lane] = query(first + ty, head, d);
  columns[lane + 128u] = query(first + ty + 16u, head, d);
  workgroupBarrier();
  return addWeighted(sum, ty, tx);
}

fn put(u: u32, group: u32, d: u32, keys: vec4<f32>, values: vec4<f32>) {
  if (u < p.tokens && d < p.size) {
    let i = (u * p.kvHeads + group) * p.size / 2u + d / 2u;
    dk[i] = vec2<Out>(keys.xy * p.scale);
    dv[i] = vec2<Out>(values.xy);
    if (d + 2u < p.size) {
      dk[i + 1u] = vec2<Out>(keys.zw * p.scale);
      dv[i + 1u] = vec2<Out>(values.zw);
    }
  }
}

fn putRows(keys: Rows, values: Rows, slice: u32, first: u32, group: u32, lane: u32) {
  let u = first + (lane >> 3u);
  let d = slice * 32u + (lane & 7u) * 4u;
  put(u, group, d, keys.a, values.a);
  put(u + 16u, group, d, keys.b, values.b);
  put(u + 32u, group, d, keys.c, values.c);
  put(u + 48u, group, d, keys.d, values.d);
}

// One behind the last query that sees a key; none for a key behind the last.
fn lastQuery(u: u32) -> u32 { return select(0u, u32(spans[min(u, p.tokens - 1u)].y), u < p.tokens); }

fn visible(queries: vec4<u32>, u: u32, last: u32) -> vec4<bool> {
  return (queries >= vec4<u32>(u)) & (queries < vec4<u32>(last));
}

// Log of the sum of exponentials, and delta, of a query.
fn statistics(t: u32, head: u32) -> vec2<f32> { return delta[min(t, p.tokens - 1u) * p.heads + head]; }

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = workgroup.x;
  let start = workgroup.y * 64u;
  let part = workgroup.z * 4u;
  let ty = lane >> 3u;
  let tx = lane & 7u;
  let u = start + ty;
  let lasts = vec4<u32>(lastQuery(u), lastQuery(u + 16u), lastQuery(u + 32u), lastQuery(u + 48u));
  let zero = vec4<f32>();
  let at = ty * 9u + tx;
  let slot = ((ty & 3u) * 8u + (ty >> 2u)) * 9u + tx;
  var k0: Rows;
  var k1: Rows;
  var k2: Rows;
  var k3: Rows;
  var v0: Rows;
  var v1: Rows;
  var v2: Rows;
  var v3: Rows;

  let end = lastQuery(min(start + 63u, p.tokens - 1u));
  for (var member = 0u; member < p.group; member++) {
    let head = group * p.group + member;
    for (var first = start; first < end; first += 32u) {
      var s = Rows(zero, zero, zero, zero);
      for (var slice = 0u; slice < SLICES; slice++) {
        let d = slice * 32u + tx * 4u;
        workgroupBarrier();
        rows[at] = key(u, group, d);
        rows[at + 144u] = key(u + 16u, group, d);
        rows[at + 288u] = key(u + 32u, group, d);
        rows[at + 432u] = key(u + 48u, group, d);
        columns[slot] = query(first + ty, head, d);
        columns[slot + 36u] = query(first + ty + 16u, head, d);
        workgroupBarrier();
        s = addDots(s, ty, tx);
      }
      var dp = Rows(zero, zero, zero, zero);
      for (var slice = 0u; slice < SLICES; slice++) {
        let d = slice * 32u + tx * 4u;
        workgroupBarrier();
        rows[at] = value(u, group, d);
        rows[at + 144u] = value(u + 16u, group, d);
        rows[at + 288u] = value(u + 32u, group, d);
        rows[at + 432u] = value(u + 48u, group, d);
        columns[slot] = gradient(first + ty, head, d);
        columns[slot + 36u] = gradient(first + ty + 16u, head, d);
        workgroupBarrier();
        dp = addDots(dp, ty, tx);
      }
      let t = first + tx * 4u;
      let queries = vec4<u32>(0u, 1u, 2u, 3u) + t;
      let ofX = statistics(t, head);
      let ofY = statistics(t + 1u, head);
      let ofZ = statistics(t + 2u, head);
      let ofW = statistics(t + 3u, head);
      let sums = vec4<f32>(ofX.x, ofY.x, ofZ.x, ofW.x);
      let deltas = vec4<f32>(ofX.y, ofY.y, ofZ.y, ofW.y);
      s.a = select(zero, exp(s.a * p.scale - sums), visible(queries, u, lasts.x));
      s.b = select(zero, exp(s.b * p.scale - sums), visible(queries, u + 16u, lasts.y));
      s.c = select(zero, exp(s.c * p.scale - sums), visible(queries, u + 32u, lasts.z));
      s.d = select(zero, exp(s.d * p.scale - sums), visible(queries, u + 48u, lasts.w));
      workgroupBarrier();
      rows[at] = s.a;
      rows[at + 144u] = s.b;
      rows[at + 288u] = s.c;
      rows[at + 432u] = s.d;
      v0 = addGradients(v0, part, first, head, lane);
      if (SLICES > 1u) { v1 = addGradients(v1, part + 1u, first, head, lane); }
      if (SLICES > 2u) { v2 = addGradients(v2, part + 2u, first, head, lane); }
      if (SLICES > 3u) { v3 = addGradients(v3, part + 3u, first, head, lane); }
      workgroupBarrier();
      rows[at] = s.a * (dp.a - deltas);
      rows[at + 144u] = s.b * (dp.b - deltas);
      rows[at + 288u] = s.c * (dp.c - deltas);
      rows[at + 432u] = s.d * (dp.d - deltas);
      k0 = addQueries(k0, part, first, head, lane);
      if (SLICES > 1u) { k1 = addQueries(k1, part + 1u, first, head, lane); }
      if (SLICES > 2u) { k2 = addQueries(k2, part + 2u, first, head, lane); }
      if (SLICES > 3u) { k3 = addQueries(k3, part + 3u, first, head, lane); }
    }
  }

  putRows(k0, v0, part, start, group, lane);
  if (SLICES > 1u) { putRows(k1, v1, part + 1u, start, group, lane); }
  if (SLICES > 2u) { putRows(k2, v2, part + 2u, start, group, lane); }
  if (SLICES > 3u) { putRows(k3, v3, part + 3u, start, group, lane); }
}
