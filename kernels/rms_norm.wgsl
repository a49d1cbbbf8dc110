// Root mean square norm over groups of consecutive numbers: a layer's whole width, or one head.
//   y = x / sqrt(mean(x^2) + eps) * weight
// x, y [groups, width], weight [width]; width counts elements of X: vectors of four, or single numbers where a group is
// no multiple of four. share: see lib/webgpu/vectors.ts. p.part: 1 / numbers of a group.
// `lanes` invocations (a power of two) take a group, 256 / lanes groups a workgroup.
// Grid: spread(ceil(groups / (256 / lanes))).

const lanes: u32 = 256;
const share: f32 = 1.0;
alias X = vec4<f32>;
alias Weight = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { groups: u32, width: u32, part: f32, eps: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> weight: array<Weight>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

const columns: u32 = min(lanes, 16u);
var<workgroup> partial: array<f32, 256>;

// Sum over the lanes of a group, for all of them: 16 columns of partial sums, then one row.
fn groupSum(value: f32, lane: u32) -> f32 {
  let own = lane & (lanes - 1u);
  let first = lane - own;
  partial[lane] = value;
  workgroupBarrier();
  if (own < columns) {
    var sum = value;
    for (var i = own + columns; i < lanes; i += columns) { sum += partial[first + i]; }
    partial[lane] = sum;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < columns; i++) { sum += partial[first + i]; }
  return sum;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = (workgroup.y * workgroups.x + workgroup.x) * (256u / lanes) + lane / lanes;
  let start = min(group, p.groups - 1u) * p.width;
  let own = lane & (lanes - 1u);
  var squares = Float();
  for (var i = own; i < p.width; i += lanes) {
    let value = Float(x[start + i]);
    squares += value * value;
  }
  let sum = groupSum(dot(vec4<f32>(squares), vec4<f32>(share)), lane);
  let r = inverseSqrt(sum * p.part + p.eps);
  if (group < p.groups) {
    for (var i = own; i < p.width; i += lanes) { y[start + i] = Y(Float(x[start + i]) * r * Float(weight[i])); }
  }
}
