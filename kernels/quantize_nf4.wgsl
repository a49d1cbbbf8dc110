// Quantises to NF4 in blocks of 64 consecutive numbers, bit for bit as lib/quant/nf4.ts.
//   absmax[b] = max |x| of the block; code = number of thresholds below x * (1 / absmax[b])
// x f32, p.count numbers; packed u32: eight codes a word, the bytes little-endian, the even index in a byte's high
// nibble, 0 behind the last number; absmax f32. A lane makes a word, eight lanes share a block.
// Same bits are guaranteed for blocks of zeros and for maxima from 2^-100 to 2^126, on devices that round products to
// nearest (maxima themselves always): the reciprocal is rounded here in integers, as division may be off by some units
// in the last place. Below, devices flush what the CPU keeps; infinities and NaN give nonsense and must be looked for
// before.
// Grid: spread(ceil(count / 2048)).

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>; // the bits of f32
@group(0) @binding(2) var<storage, read_write> packed: array<u32>;
@group(0) @binding(3) var<storage, read_write> absmax: array<u32>; // likewise

var<workgroup> largest: array<u32, 256>;

// 1/m, rounded to nearest, of the m >= 2^-126 with these bits: with a mantissa M of 24 bits, 2^47 / M as an integer.
fn reciprocal(bits: u32) -> f32 {
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  var quotient = u32(140737488355328.0 / f32(mantissa));
  // 2^47 - mantissa * quotient, modulo 2^32; it is a few mantissas at most. It is never just half a mantissa.
  var rest = -i32(mantissa * quotient);
  for (var i = 0; i < 4; i++) {
    if (2 * rest > i32(mantissa)) {
      quotient += 1u;
      rest -= i32(mantissa);
    } else if (2 * rest < -i32(mantissa)) {
      quotient -= 1u;
      rest += i32(mantissa);
    }
  }
  return bitcast<f32>(bitcast<u32>(f32(quotient)) + (103u << 23u) - (bits & 0x7f800000u));
}

fn above(y: vec4<f32>, threshold: f32) -> vec4<u32> {
  return select(vec4<u32>(), vec4<u32>(1u), y > vec4<f32>(threshold));
}

// Midpoints of the codebook's values.
fn codes(y: vec4<f32>) -> vec4<u32> {
  return above(y, -0.8480963706970215) + above(y, -0.6106328964233398) + above(y, -0.4599952697753906) +
    above(y, -0.33967941999435425) + above(y, -0.23460739850997925) + above(y, -0.13791173696517944) +
    above(y, -0.045525018125772476) + above(y, 0.03979014977812767) + above(y, 0.120255246758461) +
    above(y, 0.2035212516784668) + above(y, 0.2920137643814087) + above(y, 0.3893125355243683) +
    above(y, 0.5016634464263916) + above(y, 0.6427869200706482) + above(y, 0.8614784479141235);
}

// Four codes as two bytes, 0 where there is no number.
fn bytes(numbers: vec4<u32>, inverse: f32, there: vec4<bool>) -> u32 {
  let code = select(vec4<u32>(), codes(bitcast<vec4<f32>>(numbers) * inverse), there);
  return (code.x << 4u) | code.y | (code.z << 12u) | (code.w << 8u);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let word = (group.y * groups.x + group.x) * 256u + lane;
  let last = (p.count - 1u) / 4u;
  let at = vec4<u32>(8u * word) + vec4<u32>(0u, 1u, 2u, 3u);
  let thereA = at < vec4<u32>(p.count);
  let thereB = at + 4u < vec4<u32>(p.count);
  let a = x[min(2u * word, last)];
  let b = x[min(2u * word + 1u, last)];
  let magnitude = max(
    select(vec4<u32>(), a & vec4<u32>(0x7fffffffu), thereA),
    select(vec4<u32>(), b & vec4<u32>(0x7fffffffu), thereB),
  );
  largest[lane] = max(max(magnitude.x, magnitude.y), max(magnitude.z, magnitude.w));
  workgroupBarrier();
  let first = lane & 0xf8u;
  var top = largest[first];
  for (var i = 1u; i < 8u; i++) { top = max(top, largest[first + i]); }
  if (8u * word < p.count) {
    if (lane == first) { absmax[word >> 3u] = top; }
    let inverse = reciprocal(max(top, 0x800000u));
    packed[word] = bytes(a, inverse, thereA) | (bytes(b, inverse, thereB) << 16u);
  }
}
