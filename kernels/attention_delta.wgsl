// What the backward of attention needs of a query beside its vectors, in one place.
//   delta[t, h] = (lse[t, h], sum over s of dy[t, h, s] * y[t, h, s])
// dy, y: [T, H*S], S even; lse: f32 [T, H]; delta: f32 [T, H, 2]. p.count: T*H; p.pairs: S/2.
// Grid: spread(ceil(count / 16)), 16 threads a sum.

alias Grad = f32;
alias Y = f32;

struct Params { count: u32, pairs: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec2<Grad>>;
@group(0) @binding(2) var<storage, read> y: array<vec2<Y>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<vec2<f32>>;

var<workgroup> parts: array<vec4<f32>, 64>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (workgroup.y * workgroups.x + workgroup.x) * 16u;
  let row = first + (lane >> 4u);
  var sum = 0.0;
  if (row < p.count) {
    for (var i = lane & 15u; i < p.pairs; i += 16u) {
      sum += dot(vec2<f32>(dy[row * p.pairs + i]), vec2<f32>(y[row * p.pairs + i]));
    }
  }
  parts[lane >> 2u][lane & 3u] = sum;
  workgroupBarrier();
  if (lane < 16u && first + lane < p.count) {
    let four = parts[lane * 4u] + parts[lane * 4u + 1u] + parts[lane * 4u + 2u] + parts[lane * 4u + 3u];
    delta[first + lane] = vec2<f32>(lse[first + lane], four.x + four.y + four.z + four.w);
  }
}
