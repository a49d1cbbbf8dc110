// Gradient of softmax_loss with respect to the logits, or to C columns of them from firstColumn on.
//   dlogits[n, c] = scale * (exp(logits[n, v] - max[n]) / sum[n] - (v == targets[n])), v = firstColumn + c
// logits [N, width], targets i32 [N], stats f32 [N, 2] = (max, sum), dlogits [N, columns]. width, columns and first
// count elements of Logits: vectors of four, or single numbers where V, C or firstColumn is no multiple of four.
// p.count: N * columns.
// Grid: spread(ceil(count / 256)).

const size: u32 = 4; // numbers in an element of Logits
const offsets = vec4<u32>(0u, 1u, 2u, 3u); // their columns, from the first on
alias Logits = vec4<f32>;
alias Dlogits = vec4<f32>;
alias Float = vec4<f32>;
alias Column = vec4<u32>;

struct Params { count: u32, columns: u32, width: u32, first: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<Logits>;
@group(0) @binding(2) var<storage, read> targets: array<i32>;
@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<Dlogits>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let row = i / p.columns;
  let column = p.first + i - row * p.columns;
  let top = stats[row].x;
  let factor = p.scale / stats[row].y;
  let probability = exp(Float(logits[row * p.width + column]) - top) * factor;
  let hit = Column(column * size) + offsets == Column(u32(targets[row]));
  dlogits[i] = Dlogits(probability - select(Float(), Float(p.scale), hit));
}
