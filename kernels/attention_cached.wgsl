// Attention of T new tokens against a cache, what each sees in p.splits parts.
//   y[t, h] = sum over c of softmax(scale * q[t, h] . keys[c, g])[c] * values[c, g],  g = floor(h / group)
// over the slots c = spans[t].x .. spans[t].y - 1; 0 where there is none. Other slots are not read.
// q: [T, H*S]; keys, values: [slots, G*S]; spans: i32 [T, 2]. S is even, 256 at most; H is a
// multiple of G.
// y: with p.splits 1 [T, H*S], else f32 [T, H, p.splits, S + 2] for attention_cached_combine.wgsl: sums that are
// not divided yet, the largest score, the sum of weights.
// Grid: (G, T, p.splits * ceil(group / 8)).
//
// A workgroup takes 8 query heads of a group and walks over its part of the slots, 32 at a time. A thread (ty, tx) holds,
// of head ty, the scores of slots 2*tx and 2*tx+1 and of the output dimensions 4*tx .. 4*tx+3 of every 64.

alias In = f32;
alias Cache = f32;
alias Out = f32;
const SLICES: u32 = 4;

const NEVER = -1e30;

struct Params { heads: u32, kvHeads: u32, group: u32, size: u32, splits: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<vec2<In>>;
@group(0) @binding(2) var<storage, read> keys: array<vec2<Cache>>;
@group(0) @binding(3) var<storage, read> values: array<vec2<Cache>>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec2<Out>>;

// The 8 heads' queries, 65 apart.
var<workgroup> queries: array<vec4<f32>, 520>;
// A slice of 32 keys: slot c at (c & 1) * 16 + c / 2, 9 apart.
var<workgroup> columns: array<vec4<f32>, 288>;
var<workgroup> weights: array<vec4<f32>, 72>;
var<workgroup> shares: array<vec4<f32>, 32>;

// Four dimensions of a head's vector from d on, as two pairs; 0 behind the last. Nothing behind a tensor is read.
fn quadAt(row: u32, d: u32) -> u32 { return (row * p.size + min(d, p.size - 2u)) / 2u; }
fn nextPair(i: u32, d: u32) -> u32 { return i + select(0u, 1u, d + 2u < p.size); }
fn quadOf(pair: vec2<f32>, next: vec2<f32>, d: u32) -> vec4<f32> {
  return select(vec4<f32>(), vec4<f32>(pair, select(vec2<f32>(), next, d + 2u < p.size)), d < p.size);
}

fn query(row: u32, d: u32) -> vec4<f32> {
  let i = quadAt(row, d);
  return quadOf(vec2<f32>(q[i]), vec2<f32>(q[nextPair(i, d)]), d);
}

// `base` is the pair at which slot 0 of the group begins.
fn key(base: u32, slot: u32, end: u32, d: u32) -> vec4<f32> {
  let i = base + quadAt(min(slot, end - 1u) * p.kvHeads, d);
  return quadOf(vec2<f32>(keys[i]), vec2<f32>(keys[nextPair(i, d)]), d);
}

fn value(base: u32, slot: u32, end: u32, d: u32) -> vec4<f32> {
  let i = base + quadAt(min(slot, end - 1u) * p.kvHeads, d);
  return quadOf(vec2<f32>(values[i]), vec2<f32>(values[nextPair(i, d)]), d);
}

fn weighted(weight: vec4<f32>, base: u32, slot: u32, end: u32, d: u32) -> vec4<f32> {
  return weight.x * value(base, slot, end, d) + weight.y * value(base, slot + 1u, end, d) +
    weight.z * value(base, slot + 2u, end, d) + weight.w * value(base, slot + 3u, end, d);
}

fn put(row: u32, d: u32, quad: vec4<f32>) {
  if (d < p.size) {
    y[row + d / 2u] = vec2<Out>(quad.xy);
    if (d + 2u < p.size) { y[row + d / 2u + 1u] = vec2<Out>(quad.zw); }
  }
}

fn largestShare(ty: u32) -> f32 {
  let top = max(max(shares[ty * 4u], shares[ty * 4u + 1u]), max(shares[ty * 4u + 2u], shares[ty * 4u + 3u]));
  return max(max(top.x, top.y), max(top.z, top.w));
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = workgroup.x;
  let t = workgroup.y;
  let split = workgroup.z % p.splits;
  let ty = lane >> 4u;
  let tx = lane & 15u;
  let member = workgroup.z / p.splits * 8u + ty;
  let row = t * p.heads + group * p.group + member;
  let base = group * p.size / 2u;

  // Parts are whole tiles.
  let range = vec2<u32>(spans[t]);
  let count = max(range.y, range.x) - range.x;
  let part = (count + p.splits * 32u - 1u) / (p.splits * 32u) * 32u;
  let start = range.x + split * part;
  let end = min(start + part, range.y);

  for (var d = tx * 4u; d < p.size; d += 64u) {
    if (member < p.group) { queries[ty * 65u + d / 4u] = query(row, d); }
  }
  var most = NEVER;
  var total = 0.0;
  var o0 = vec4<f32>();
  var o1 = vec4<f32>();
  var o2 = vec4<f32>();
  var o3 = vec4<f32>();

  for (var first = start; first < end; first += 32u) {
    var s = vec2<f32>();
    for (var slice = 0u; slice < SLICES; slice++) {
      // 32 slots by 8 vectors: two each.
      let slot = lane >> 3u;
      let d = slice * 32u + (lane & 7u) * 4u;
      let at = ((slot & 1u) * 16u + (slot >> 1u)) * 9u + (lane & 7u);
      workgroupBarrier();
      columns[at] = key(base, first + slot, end, d);
      columns[at + 72u] = key(base, first + slot + 16u, end, d);
      workgroupBarrier();
      for (var i = 0u; i < 8u; i++) {
        let quad = queries[ty * 65u + slice * 8u + i];
        s += vec2<f32>(dot(quad, columns[tx * 9u + i]), dot(quad, columns[tx * 9u + 144u + i]));
      }
    }
    let slot = first + tx * 2u;
    let sees = vec2<bool>(slot < end, slot + 1u < end);
    s = select(vec2<f32>(NEVER), s * p.scale, sees);
    shares[lane >> 2u][lane & 3u] = max(s.x, s.y);
    workgroupBarrier();
    let top = max(most, largestShare(ty));
    let factor = exp(most - top);
    most = top;
    s = select(vec2<f32>(), exp(s - top), sees);
    total = total * factor + s.x + s.y;
    weights[ty * 9u + (tx >> 1u)][(tx & 1u) * 2u] = s.x;
    weights[ty * 9u + (tx >> 1u)][(tx & 1u) * 2u + 1u] = s.y;
    workgroupBarrier();
    o0 *= factor;
    o1 *= factor;
    o2 *= factor;
    o3 *= factor;
    let fours = min(8u, (end - first + 3u) / 4u);
    for (var i = 0u; i < fours; i++) {
      let weight = weights[ty * 9u + i];
      let four = first + i * 4u;
      o0 += weighted(weight, base, four, end, tx * 4u);
      if (SLICES > 2u) { o1 += weighted(weight, base, four, end, tx * 4u + 64u); }
      if (SLICES > 4u) { o2 += weighted(weight, base, four, end, tx * 4u + 128u); }
      if (SLICES > 6u) { o3 += weighted(weight, base, four, end, tx * 4u + 192u); }
    }
  }

  workgroupBarrier();
  shares[lane >> 2u][lane & 3u] = total;
  workgroupBarrier();
  let sums = shares[ty * 4u] + shares[ty * 4u + 1u] + shares[ty * 4u + 2u] + shares[ty * 4u + 3u];
  total = sums.x + sums.y + sums.z + sums.w;
  if (member < p.group) {
    var at = row * p.size / 2u;
    var share = select(0.0, 1.0 / total, total > 0.0);
    if (p.splits > 1u) {
      at = (row * p.splits + split) * (p.size / 2u + 1u);
      share = 1.0;
      if (tx == 0u) { y[at + p.size / 2u] = vec2<Out>(vec2<f32>(most, total)); }
    }
    put(at, tx * 4u, o0 * share);
    if (SLICES > 2u) { put(at, tx * 4u + 64u, o1 * share); }
    if (SLICES > 4u) { put(at, tx * 4u + 128u, o2 * share); }
    if (SLICES > 6u) { put(at, tx * 4u + 192u, o3 * share); }
  }
}
