// One step of AdamW with 8-bit moments, in place on values and moments, as bitsandbytes 0.50 computes it on a CPU.
//   g = factor * grad;  m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g*g
//   w = decay*w + rate*m / (sqrt(v)/root + eps)
// Moments are codes of a map with one maximum per block of 256: m = map1[code] * maximum of the block. Back to a code by
// a table over 65,536 bins of [-1, 1]: table[trunc((m/maximum + 1)/2 * 65535 + 0.5)]; 0 where the maximum is 0.
// lengths [blocks], grad, w f32 [blocks, 256], codes u32 [blocks, 2, 64]: 256 codes of m, then 256 of v, four a word;
// maxima f32 [blocks, 2]; tables u32: the f32 maps of m and of v, 256 words each, then the tables of m and of v, 16384
// words each, four codes a word. lengths as in gradient_norm.wgsl; control as in optimizer_control.wgsl and adamw.wgsl,
// and nothing changes where it says "not finite". 64 lanes take a block, four elements each.
// Grid: spread(ceil(p.blocks / 4)).

struct Params { blocks: u32 }
struct Control {
  norm: f32, clip: f32, finite: f32, factor: f32,
  decay: f32, rate: f32, root: f32, eps: f32,
  smallRate: f32, smallEps: f32, beta1: f32, beta2: f32,
  oneMinusBeta1: f32, oneMinusBeta2: f32, unused1: f32, unused2: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> codes: array<u32>;
@group(0) @binding(7) var<storage, read_write> maxima: array<vec2<f32>>;

const map1 = 0u;
const map2 = 256u;
const table1 = 512u;
const table2 = 16896u;

var<workgroup> largest: array<vec2<f32>, 256>;

fn decoded(word: u32, map: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(
    tables[map + (word & 255u)],
    tables[map + ((word >> 8u) & 255u)],
    tables[map + ((word >> 16u) & 255u)],
    tables[map + (word >> 24u)],
  ));
}

fn codeOf(bin: u32, table: u32) -> u32 {
  return (tables[table + (bin >> 2u)] >> (8u * (bin & 3u))) & 255u;
}

fn encoded(x: vec4<f32>, maximum: f32, table: u32) -> u32 {
  if (maximum == 0.0) { return 0u; }
  let one = vec4<f32>(1.0);
  let y = clamp(x * (1.0 / maximum), -one, one);
  let bins = min(vec4<u32>(fma((y + one) * 0.5, vec4<f32>(65535.0), vec4<f32>(0.5))), vec4<u32>(65535u));
  return codeOf(bins.x, table) | (codeOf(bins.y, table) << 8u) | (codeOf(bins.z, table) << 16u) |
    (codeOf(bins.w, table) << 24u);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = 4u * (group.y * groups.x + group.x) + (lane >> 6u);
  let block = min(index, p.blocks - 1u);
  let writes = index < p.blocks && control.finite != 0.0;
  let place = lane & 63u;
  let i = 64u * block + place;
  let live = 4u * vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(lengths[block]);
  let zero = vec4<f32>();
  let g = select(zero, control.factor * grad[i], live);
  let old = select(zero, w[i], live);
  let before = maxima[block];
  let m0 = decoded(codes[128u * block + place], map1) * before.x;
  let v0 = decoded(codes[128u * block + 64u + place], map2) * before.y;
  let m = select(zero, fma(vec4<f32>(control.oneMinusBeta1), g, m0 * control.beta1), live);
  let v = select(zero, fma(control.oneMinusBeta2 * g, g, v0 * control.beta2), live);
  let value = old * control.decay + (control.rate * m) / (sqrt(v) / control.root + control.eps);

  let a = max(abs(m.xy), abs(m.zw));
  let b = max(v.xy, v.zw);
  largest[lane] = vec2<f32>(max(a.x, a.y), max(b.x, b.y));
  for (var half = 32u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (place < half) { largest[lane] = max(largest[lane], largest[lane + half]); }
  }
  workgroupBarrier();
  let maximum = largest[lane & 192u];
  if (writes) {
    let kept = select(zero, value, live);
    w[i] = kept;
    codes[128u * block + place] = encoded(m, maximum.x, table1);
    codes[128u * block + 64u + place] = encoded(v, maximum.y, table2);
    if (place == 0u) { maxima[block] = maximum; }
  }
}
