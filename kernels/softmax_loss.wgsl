// Cross-entropy of rows of logits against targets, in one reading.
//   loss[n] = log(sum over v of exp(logits[n, v] - max)) + max - logits[n, targets[n]]
//   stats[n] = (max, sum of the exponentials), for the gradient
// logits [rows, width], targets i32 [rows] in [0, V), loss f32 [rows], stats f32 [rows, 2]; width counts elements of
// Logits: vectors of four, or single numbers where V is no multiple of four. share: see lib/webgpu/vectors.ts.
// Each lane keeps the maximum and the sum of what it has seen, rescaling when the maximum grows. Logits above -1e38.
// Grid: spread(rows).

const size: u32 = 4; // numbers in an element of Logits
const share: f32 = 1.0;
alias Logits = vec4<f32>;
alias Float = vec4<f32>;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<Logits>;
@group(0) @binding(2) var<storage, read> targets: array<i32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

const lowest = -1e38;
var<workgroup> partial: array<vec2<f32>, 256>;

fn largest(v: vec4<f32>) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

// (max, sum) of two sets as one.
fn join(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  let top = max(a.x, b.x);
  return vec2<f32>(top, a.y * exp(a.x - top) + b.y * exp(b.x - top));
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  let start = min(row, p.rows - 1u) * p.width;
  let end = start + p.width;
  let all = vec4<f32>(share);
  var top = lowest;
  var sum = 0.0;
  var i = start + lane;
  // Two loads under way.
  while (i + 256u < end) {
    let a = vec4<f32>(Float(logits[i]));
    let b = vec4<f32>(Float(logits[i + 256u]));
    let before = top;
    top = max(top, largest(max(a, b)));
    sum = sum * exp(before - top) + dot(exp(a - top) + exp(b - top), all);
    i += 512u;
  }
  if (i < end) {
    let a = vec4<f32>(Float(logits[i]));
    let before = top;
    top = max(top, largest(a));
    sum = sum * exp(before - top) + dot(exp(a - top), all);
  }
  var pair = vec2<f32>(top, sum);
  partial[lane] = pair;
  workgroupBarrier();
  if (lane < 16u) {
    for (var k = lane + 16u; k < 256u; k += 16u) { pair = join(pair, partial[k]); }
    partial[lane] = pair;
  }
  workgroupBarrier();
  if (lane == 0u && row < p.rows) {
    for (var k = 1u; k < 16u; k++) { pair = join(pair, partial[k]); }
    let label = u32(targets[row]);
    let picked = vec4<f32>(Float(logits[start + label / size]))[label % size];
    loss[row] = log(pair.y) + pair.x - picked;
    stats[row] = pair;
  }
}
