// What attention against a cache begins with: queries are turned in place, keys turned and stored, values stored.
//   q[t] = turned(q[t]),   keys[index[t]] = turned(k[t]),   values[index[t]] = v[t]
// turned: each head's halves (x1, x2) become (x1 * cos - x2 * sin, x2 * cos + x1 * sin), as in rope.wgsl.
// q [T, H * 2 * width], k, v [T, G * 2 * width], cos, sin [T, width], index i32 [T], keys, values [rows, G * 2 * width];
// width, half a head, counts elements of Q: vectors of four, or single numbers where it is no multiple of four. Indices
// are distinct; those outside [0, rows) are passed over. p.queries: T * H * width; p.keys: T * G * width.
// Grid: spread(ceil((queries + 2 * keys) / 256)).

alias Q = vec4<f32>;
alias K = vec4<f32>;
alias V = vec4<f32>;
alias Cos = vec4<f32>;
alias Sin = vec4<f32>;
alias Cache = vec4<f32>;
alias Float = vec4<f32>;

struct Params { queries: u32, keys: u32, heads: u32, kvHeads: u32, width: u32, rows: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> q: array<Q>;
@group(0) @binding(2) var<storage, read> k: array<K>;
@group(0) @binding(3) var<storage, read> v: array<V>;
@group(0) @binding(4) var<storage, read> cos_: array<Cos>;
@group(0) @binding(5) var<storage, read> sin_: array<Sin>;
@group(0) @binding(6) var<storage, read> index: array<i32>;
@group(0) @binding(7) var<storage, read_write> keys: array<Cache>;
@group(0) @binding(8) var<storage, read_write> values: array<Cache>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let thread = (group.y * groups.x + group.x) * 256u + lane;
  if (thread >= p.queries + 2u * p.keys) { return; }
  let is_query = thread < p.queries;
  let is_value = thread >= p.queries + p.keys;
  let i = thread - select(select(p.queries, p.queries + p.keys, is_value), 0u, is_query);
  // Heads are counted through all tokens.
  let head = i / p.width;
  let heads = select(p.kvHeads, p.heads, is_query);
  let t = head / heads;
  let first = i + head * p.width;
  let second = first + p.width;
  let angle = t * p.width + i - head * p.width;
  let c = Float(cos_[angle]);
  let s = Float(sin_[angle]);
  if (is_query) {
    let x1 = Float(q[first]);
    let x2 = Float(q[second]);
    q[first] = Q(x1 * c - x2 * s);
    q[second] = Q(x2 * c + x1 * s);
    return;
  }
  let row = u32(index[t]);
  if (row >= p.rows) { return; }
  let to = first + (row - t) * heads * 2u * p.width;
  if (is_value) {
    values[to] = Cache(v[first]);
    values[to + p.width] = Cache(v[second]);
  } else {
    let x1 = Float(k[first]);
    let x2 = Float(k[second]);
    keys[to] = Cache(x1 * c - x2 * s);
    keys[to + p.width] = Cache(x2 * c + x1 * s);
  }
}
