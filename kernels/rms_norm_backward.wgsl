// Gradient of a root mean square norm with respect to its input, over groups of consecutive numbers.
//   r = 1 / sqrt(mean(x^2) + eps)
//   dx = r * (weight * dy - x * r^2 * mean(weight * dy * x)), + plus where `add` is set; where `twice`, dx_half = f16(dx)
// dy, x, plus, dx [groups, width], weight [width]; width counts elements of X: vectors of four, or single numbers where
// a group is no multiple of four. share: see lib/webgpu/vectors.ts. p.part: 1 / numbers of a group. Without `add`, plus
// is any tensor that is not dx.
// `lanes` invocations (a power of two) take a group, 256 / lanes groups a workgroup.
// Grid: spread(ceil(groups / (256 / lanes))).

const lanes: u32 = 256;
const share: f32 = 1.0;
const add: bool = true;
const twice: bool = false;
alias Dy = vec4<f32>;
alias X = vec4<f32>;
alias Weight = vec4<f32>;
alias Plus = vec4<f32>;
alias Dx = vec4<f32>;
alias Half = vec4<f32>; // vec4<f16> where twice
alias Float = vec4<f32>;

struct Params { groups: u32, width: u32, part: f32, eps: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Dy>;
@group(0) @binding(2) var<storage, read> x: array<X>;
@group(0) @binding(3) var<storage, read> weight: array<Weight>;
@group(0) @binding(4) var<storage, read> plus: array<Plus>;
@group(0) @binding(5) var<storage, read_write> dx: array<Dx>;
@group(0) @binding(6) var<storage, read_write> dx_half: array<Half>;

const columns: u32 = min(lanes, 16u);
var<workgroup> partial: array<vec2<f32>, 256>;

// Two sums over the lanes of a group, for all of them: 16 columns of partial sums, then one row.
fn groupSums(value: vec2<f32>, lane: u32) -> vec2<f32> {
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
  var sum = vec2<f32>();
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
  var products = Float();
  for (var i = own; i < p.width; i += lanes) {
    let value = Float(x[start + i]);
    squares += value * value;
    products += Float(weight[i]) * Float(dy[start + i]) * value;
  }
  let all = vec4<f32>(share);
  let sums = groupSums(vec2<f32>(dot(vec4<f32>(squares), all), dot(vec4<f32>(products), all)), lane) * p.part;
  let r = inverseSqrt(sums.x + p.eps);
  let slope = r * r * sums.y;
  if (group < p.groups) {
    for (var i = own; i < p.width; i += lanes) {
      var value = r * (Float(weight[i]) * Float(dy[start + i]) - Float(x[start + i]) * slope);
      if (add) { value += Float(plus[start + i]); }
      dx[start + i] = Dx(value);
      if (twice) { dx_half[start + i] = Half(value); }
    }
  }
}
