// The parts of attention_cached.wgsl put together.
//   y[row] = sum over parts of e[part] * sums[row, part] / sum over parts of e[part] * weights[row, part],
//   e[part] = exp(most[row, part] - largest of them); 0 where all weights are 0
// partial: f32 [rows, p.splits, S + 2]: sums, most, weights; y: [rows, S], S even. p.count: rows; p.pairs: S/2.
// Grid: spread(count).

alias Out = f32;

struct Params { count: u32, pairs: u32, splits: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<Out>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row < p.count) {
    let base = row * p.splits * (p.pairs + 1u);
    var top = -1e30;
    for (var part = 0u; part < p.splits; part++) { top = max(top, partial[base + part * (p.pairs + 1u) + p.pairs].x); }
    for (var i = lane; i < p.pairs; i += 64u) {
      var sum = vec2<f32>();
      var total = 0.0;
      for (var part = 0u; part < p.splits; part++) {
        let at = base + part * (p.pairs + 1u);
        let share = exp(partial[at + p.pairs].x - top);
        sum += share * partial[at + i];
        total += share * partial[at + p.pairs].y;
      }
      y[row * p.pairs + i] = vec2<Out>(select(vec2<f32>(), sum / total, total > 0.0));
    }
  }
}
