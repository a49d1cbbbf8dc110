// NF4 codes to numbers.
//   y[i] = value[code[i]] * absmax[i / 64]
// packed: two codes a byte, the even one in the high half; y f32 or f16, counted flat, any count: the last vectors may
// reach into the padding of both buffers. absmax f32 [ceil(count / 64)]; where `double` it is 8-bit codes itself, four
// to a word of `absmax_codes`, and
//   absmax[j] = map[absmax_codes[j]] * nested[j / 256] + p.offset, with map f32 [256]
// every operation rounded by itself, as the processor does it. Bindings a variant does not use take any other tensor
// that is only read. A thread writes 32 numbers: half a block. p.count: vectors of four in y.
// Grid: spread(ceil(count / (8 * 256))).

const double: bool = false;
alias Y = f32;

struct Params { count: u32, offset: f32, zero: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> absmax: array<f32>;
@group(0) @binding(3) var<storage, read> absmax_codes: array<u32>;
@group(0) @binding(4) var<storage, read> nested: array<f32>;
@group(0) @binding(5) var<storage, read> map: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;

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
  let product = map[code] * nested[j >> 8u];
  return bitcast<f32>(bitcast<u32>(product) + p.zero) + p.offset;
}

fn four(word: u32, shift: u32, scale: f32) -> vec4<Y> {
  let first = pairs[(word >> shift) & 255u];
  let second = pairs[(word >> (shift + 8u)) & 255u];
  return vec4<Y>(vec4<f32>(first, second) * scale);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  var table = values;
  pairs[lane] = vec2<f32>(table[lane >> 4u], table[lane & 15u]);
  workgroupBarrier();
  let i = (group.y * groups.x + group.x) * 256u + lane;
  let first = i * 8u;
  if (first < p.count) {
    let words = packed[i];
    let scale = maximum(i >> 1u);
    y[first] = four(words.x, 0u, scale);
    if (first + 7u < p.count) {
      y[first + 1u] = four(words.x, 16u, scale);
      y[first + 2u] = four(words.y, 0u, scale);
      y[first + 3u] = four(words.y, 16u, scale);
      y[first + 4u] = four(words.z, 0u, scale);
      y[first + 5u] = four(words.z, 16u, scale);
      y[first + 6u] = four(words.w, 0u, scale);
      y[first + 7u] = four(words.w, 16u, scale);
    } else {
      if (first + 1u < p.count) { y[first + 1u] = four(words.x, 16u, scale); }
      if (first + 2u < p.count) { y[first + 2u] = four(words.y, 0u, scale); }
      if (first + 3u < p.count) { y[first + 3u] = four(words.y, 16u, scale); }
      if (first + 4u < p.count) { y[first + 4u] = four(words.z, 0u, scale); }
      if (first + 5u < p.count) { y[first + 5u] = four(words.z, 16u, scale); }
      if (first + 6u < p.count) { y[first + 6u] = four(words.w, 0u, scale); }
    }
  }
}
