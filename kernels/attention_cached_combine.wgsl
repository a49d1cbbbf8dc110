// The parts of attention_cached.wgsl put together.
//   y[row] = sum over parts of e[part] * sums[row, part] / sum over parts of e[part] * weights[row, part],
//   e[part] = exp(most[row, part] - largest of them); 0 where all weights are 0
// partial: f32 [rows, p.splits, S + 2]: sums, most, weights; y: [rows, S], S even. p.count: rows; p.pairs: S/2;
// p.splits is 64 at most: a thread looks up one part's weights, then adds up a pair of sums.
// Grid: spread(count).

alias Out = f32;

struct Params { count: u32, pairs: u32, splits: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<Out>>;

const threads = 64u;
var<workgroup> tops: array<vec4<f32>, 16>;
var<workgroup> shares: array<vec4<f32>, 16>;
var<workgroup> weights: array<vec4<f32>, 16>;

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= p.count) { return; }
  let base = row * p.splits * (p.pairs + 1u);
  var own = vec2<f32>(-1e30, 0.0);
  if (lane < p.splits) { own = partial[base + lane * (p.pairs + 1u) + p.pairs]; }
  tops[lane >> 2u][lane & 3u] = own.x;
  workgroupBarrier();
  var highest = tops[0];
  for (var i = 1u; i < 16u; i++) { highest = max(highest, tops[i]); }
  let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
  let share = exp(own.x - top);
  shares[lane >> 2u][lane & 3u] = share;
  weights[lane >> 2u][lane & 3u] = share * own.y;
  workgroupBarrier();
  var all = vec4<f32>();
  for (var i = 0u; i < 16u; i++) { all += weights[i]; }
  let total = all.x + all.y + all.z + all.w;
  for (var i = lane; i < p.pairs; i += threads) {
    var sum = vec2<f32>();
    for (var part = 0u; part < p.splits; part++) {
      sum += shares[part >> 2u][part & 3u] * partial[base + part * (p.pairs + 1u) + i];
    }
    y[row * p.pairs + i] = vec2<Out>(select(vec2<f32>(), sum / total, total > 0.0));
  }
}
