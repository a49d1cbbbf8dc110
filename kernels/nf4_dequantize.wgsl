// NF4 codes to numbers.
//   y[i] = value[code[i]] * absmax[i / 64]
// packed: two codes a byte, the even one in the high half; y f32 or f16, counted flat, any count: the last vectors may
// reach into the padding of both buffers. absmax f32 [ceil(count / 64)]; where `double` it is 8-bit codes itself, four
// to a word of `absmax_codes`, and
//   absmax[j] = nested[absmax_codes[j]] * nested[256 + j / 256] + p.offset
// (nested f32: the map of the codes, then the maxima of 256 blocks each), every operation rounded by itself, as the
// processor does it. A thread turns a word of 8 codes at a time, its neighbours the words beside it. p.count: words of
// codes, p.vectors: vectors of four in y, p.zero: 0. Grid: spread(ceil(count / (4 * 256))).

const double: bool = false;
const half: bool = false; // y is f16
alias Y = vec4<f32>; // vec4<u32> where half: eight numbers

struct Params { count: u32, offset: f32, zero: u32, vectors: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> packed: array<u32>;
@group(0) @binding(2) var<storage, read> absmax: array<f32>;
@group(0) @binding(3) var<storage, read> absmax_codes: array<u32>;
@group(0) @binding(4) var<storage, read> nested: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<Y>;

/** The two values of a byte: of its high half, which comes first, and of its low half. */
var<workgroup> pairs: array<vec2<f32>, 256>;

const values = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
);

/** Maximum of block j. The product is kept from being fused with the sum by passing through its bits. */
fn maximum(j: u32) -> f32 {
  if (!double) { return absmax[j]; }
  let code = (absmax_codes[j >> 2u] >> (8u * (j & 3u))) & 255u;
  let product = nested[code] * nested[256u + (j >> 8u)];
  return bitcast<f32>(bitcast<u32>(product) + p.zero) + p.offset;
}

/** Writes the numbers of word i. */
fn put(i: u32, word: u32) {
  let scale = maximum(i >> 3u);
  let first = pairs[word & 255u] * scale;
  let second = pairs[(word >> 8u) & 255u] * scale;
  let third = pairs[(word >> 16u) & 255u] * scale;
  let fourth = pairs[word >> 24u] * scale;
  if (half) {
    y[i] = bitcast<Y>(vec4<u32>(
      pack2x16float(first),
      pack2x16float(second),
      pack2x16float(third),
      pack2x16float(fourth),
    ));
  } else {
    y[2u * i] = bitcast<Y>(vec4<f32>(first, second));
    if (2u * i + 1u < p.vectors) { y[2u * i + 1u] = bitcast<Y>(vec4<f32>(third, fourth)); }
  }
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  var table = values;
  pairs[lane] = vec2<f32>(table[lane >> 4u], table[lane & 15u]);
  let i = (group.y * groups.x + group.x) * 1024u + lane;
  let last = p.count - 1u;
  // All four on their way before the first is used.
  let word0 = packed[min(i, last)];
  let word1 = packed[min(i + 256u, last)];
  let word2 = packed[min(i + 512u, last)];
  let word3 = packed[min(i + 768u, last)];
  workgroupBarrier();
  if (i < p.count) { put(i, word0); }
  if (i + 256u < p.count) { put(i + 256u, word1); }
  if (i + 512u < p.count) { put(i + 512u, word2); }
  if (i + 768u < p.count) { put(i + 768u, word3); }
}
