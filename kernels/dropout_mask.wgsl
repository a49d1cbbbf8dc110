// A mask of dropout, four elements at a time.
//   y[i] = 0 where hash(key + i * 0x9e3779b9) < threshold, else factor
// with the hash of lib/model/hash.ts ("lowbias32"): the same bits as on the host, whatever the shape.
// y f32, counted flat; p.count: vectors of four, the last may reach into the padding.
// Grid: spread(ceil(count / 256)).

struct Params { count: u32, key: u32, threshold: u32, factor: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

fn hash(numbers: vec4<u32>) -> vec4<u32> {
  var x = numbers;
  x ^= x >> vec4<u32>(16u);
  x *= 0x7feb352du;
  x ^= x >> vec4<u32>(15u);
  x *= 0x846ca68bu;
  x ^= x >> vec4<u32>(16u);
  return x;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + lane;
  if (i >= p.count) { return; }
  let index = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
  let dropped = hash(p.key + index * 0x9e3779b9u) < vec4<u32>(p.threshold);
  y[i] = select(vec4<f32>(p.factor), vec4<f32>(), dropped);
}
