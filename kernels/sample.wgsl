// Chooses a token from each row of logits, as its settings say: the largest, or where they are `random` one drawn with
// the probabilities of softmax(logits / temperature), over those tokens that top-k, then top-p, then min-p leave.
//   token[b] = argmax over v of logits[b, v] / temperature + noise(b, v); the lowest v where several are equal
// The noise is Gumbel's, -log(-log(uniform)) of a hash of seed, row, step and token, so that the largest sum is a draw
// from softmax. lib/model/sample.ts draws by the same noise and leaves out the same tokens, in float64: the two differ
// where sums do in their last bits, in a token in many thousands.
// topK, unless 0: tokens at least as likely as the k-th. topP, below 1: tokens at least as likely as the last of the most
// likely ones that reach this share of what is left. minP: tokens of this share of the most likely one's probability.
// Equal tokens stay or go together.
// logits [rows, width], settings [rows], token i32 [rows]; width counts elements of Logits: vectors of four, or single
// numbers where V is no multiple of four. share: see lib/webgpu/vectors.ts. Logits above -1e38.
// Grid: spread(rows).

const size: u32 = 4; // numbers in an element of Logits
const share: f32 = 1.0;
const offsets = vec4<u32>(0u, 1u, 2u, 3u); // their tokens, from the first on
alias Logits = vec4<f32>;
alias Float = vec4<f32>;
alias Word = vec4<u32>;

struct Settings {
  random: u32, inverseTemperature: f32, topK: u32, topP: f32, minP: f32, seed: u32, row: u32, step: u32,
}

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<Logits>;
@group(0) @binding(2) var<storage, read> settings: array<Settings>;
@group(0) @binding(3) var<storage, read_write> token: array<i32>;

struct Best { score: f32, token: u32 }

const lowest = -1e38;
var<workgroup> partial: array<Best, 256>;
var<workgroup> sums: array<vec4<f32>, 256>;

// lowbias32 of lib/model/hash.ts
fn hash(number: Word) -> Word {
  var h = number;
  h ^= h >> Word(16u);
  h *= 0x7feb352du;
  h ^= h >> Word(15u);
  h *= 0x846ca68bu;
  h ^= h >> Word(16u);
  return h;
}

// -log(-log(1 - u)); where 1 - u would lose u's digits, by the series of log(1 - u).
fn gumbel(h: Word) -> Float {
  let u = (Float(h >> Word(9u)) + 0.5) * 0x1p-23;
  let series = u * (1.0 + u * (0.5 + u * (0.33333333 + u * 0.25)));
  return -log(select(-log(1.0 - u), series, u < Float(0.0625)));
}

// Unsigned numbers in the order of the logits.
fn keyOf(value: Float) -> Word {
  let bits = bitcast<Word>(value);
  return select(bits | Word(0x80000000u), ~bits, bits >= Word(0x80000000u));
}

// Share of the most likely token's probability.
fn weightOf(value: Float, top: f32, inverse: f32) -> Float { return exp((value - top) * inverse); }

fn join(a: Best, b: Best) -> Best {
  if (b.score > a.score || (b.score == a.score && b.token < a.token)) { return b; }
  return a;
}

// The row's largest number.
fn largest(start: u32, lane: u32) -> f32 {
  var top = vec4<f32>(lowest);
  for (var i = start + lane; i < start + p.width; i += 256u) { top = max(top, vec4<f32>(Float(logits[i]))); }
  sums[lane] = top;
  workgroupBarrier();
  if (lane < 16u) {
    for (var k = lane + 16u; k < 256u; k += 16u) { top = max(top, sums[k]); }
    sums[lane] = top;
  }
  workgroupBarrier();
  for (var k = 0u; k < 16u; k++) { top = max(top, sums[k]); }
  workgroupBarrier();
  return max(max(top.x, top.y), max(top.z, top.w));
}

// For each of four floors: how many tokens have no smaller key, or, where `inverse` is not 0, the sum of their weights. In every lane, and always
// added in the same order, so that a set of tokens has one sum and a larger set no smaller one.
fn above(floors: vec4<u32>, start: u32, lane: u32, top: f32, inverse: f32) -> vec4<f32> {
  var sum = vec4<f32>();
  for (var i = start + lane; i < start + p.width; i += 256u) {
    let value = Float(logits[i]);
    let key = vec4<u32>(keyOf(value));
    var each = vec4<f32>(share);
    if (inverse != 0.0) { each *= vec4<f32>(weightOf(value, top, inverse)); }
    let none = vec4<f32>();
    let all = vec4<f32>(1.0);
    sum += vec4<f32>(
      dot(each, select(none, all, key >= vec4<u32>(floors.x))),
      dot(each, select(none, all, key >= vec4<u32>(floors.y))),
      dot(each, select(none, all, key >= vec4<u32>(floors.z))),
      dot(each, select(none, all, key >= vec4<u32>(floors.w))),
    );
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane < 16u) {
    for (var k = lane + 16u; k < 256u; k += 16u) { sum += sums[k]; }
    sums[lane] = sum;
  }
  workgroupBarrier();
  sum = sums[0];
  for (var k = 1u; k < 16u; k++) { sum += sums[k]; }
  workgroupBarrier();
  return sum;
}

// The largest floor above which `wanted` is reached, found two bits at a time.
fn floorFor(wanted: f32, start: u32, lane: u32, top: f32, inverse: f32) -> u32 {
  var floor = 0u;
  for (var digit = 0u; digit < 16u; digit++) {
    let shift = 30u - 2u * digit;
    let floors = vec4<u32>(floor) + (vec4<u32>(0u, 1u, 2u, 3u) << vec4<u32>(shift));
    let found = above(floors, start, lane, top, inverse);
    let reached = select(vec3<u32>(), vec3<u32>(1u), found.yzw >= vec3<f32>(wanted));
    floor += (reached.x + reached.y + reached.z) << shift;
  }
  return floor;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  let own = settings[min(row, p.rows - 1u)];
  let start = min(row, p.rows - 1u) * p.width;
  let inverse = own.inverseTemperature;
  var floor = 0u;
  var top = 0.0;
  if (own.random != 0u) {
    top = largest(start, lane);
    if (own.topK != 0u) { floor = floorFor(f32(own.topK), start, lane, top, 0.0); }
    if (own.topP < 1.0) {
      let wanted = own.topP * above(vec4<u32>(floor), start, lane, top, inverse).x;
      // The most likely token stays, however little is wanted.
      floor = min(floorFor(wanted, start, lane, top, inverse), vec4<u32>(keyOf(Float(top))).x);
    }
  }
  let stream = hash(hash(hash(Word(own.seed + 0x9e3779b9u)) ^ Word(own.row)) + Word(own.step));
  var best = Best(lowest, 0u);
  for (var i = lane; i < p.width; i += 256u) {
    let value = Float(logits[start + i]);
    var score = value;
    if (own.random != 0u) {
      score = value * inverse + gumbel(hash(stream + Word(i * size) + offsets));
      score = select(Float(lowest), score, keyOf(value) >= Word(floor));
      score = select(Float(lowest), score, weightOf(value, top, inverse) >= Float(own.minP));
    }
    // Of a single number these are four equal ones, of which only the first can be larger.
    let scores = vec4<f32>(score);
    for (var c = 0u; c < 4u; c++) {
      if (scores[c] > best.score) { best = Best(scores[c], i * size + c); }
    }
  }
  partial[lane] = best;
  workgroupBarrier();
  if (lane < 16u) {
    for (var k = lane + 16u; k < 256u; k += 16u) { best = join(best, partial[k]); }
    partial[lane] = best;
  }
  workgroupBarrier();
  if (lane == 0u && row < p.rows) {
    for (var k = 1u; k < 16u; k++) { best = join(best, partial[k]); }
    token[row] = i32(best.token);
  }
}
