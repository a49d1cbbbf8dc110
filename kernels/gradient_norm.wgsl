// Sums of squares of gradients, the first stage of their global norm.
//   sums[p.first + w] = sum of (scalars[0] * g)^2 over workgroup w's elements, or -1 where one of them is not finite
// g [blocks, 256]: parameters one after the other, each from a new block on; lengths [blocks]: how many elements of a
// block are a parameter's, the others may hold anything. scalars: see optimizer_control.wgsl; scalars[0] undoes the
// scale of the loss, before squares can overflow. Workgroup w takes groups of four blocks w, w + p.groups, ..., so that
// the order of additions depends on sizes alone.
// Grid: [p.groups, 1, 1].

struct Params { blocks: u32, groups: u32, first: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
@group(0) @binding(2) var<storage, read> scalars: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

const exponent = 0x7f800000u;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let place = lane & 63u;
  let index = 4u * vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u);
  let unscale = scalars[0];
  var sum = vec4<f32>();
  var broken = false;
  for (var block = 4u * group.x + (lane >> 6u); block < p.blocks; block += 4u * p.groups) {
    let live = index < vec4<u32>(lengths[block]);
    let x = g[64u * block + place];
    // By its bits: compilers may take it that there are no infinities.
    let infinite = (bitcast<vec4<u32>>(x) & vec4<u32>(exponent)) == vec4<u32>(exponent);
    broken = broken || any(live & infinite);
    let scaled = select(vec4<f32>(), unscale * x, live & !infinite);
    sum = fma(scaled, scaled, sum);
  }
  lanes[lane] = select((sum.x + sum.y) + (sum.z + sum.w), -1.0, broken);
  for (var half = 128u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) {
      let a = lanes[lane];
      let b = lanes[lane + half];
      lanes[lane] = select(a + b, -1.0, a < 0.0 || b < 0.0);
    }
  }
  if (lane == 0u) { sums[p.first + group.x] = lanes[0]; }
}
