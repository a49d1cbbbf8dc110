// Chooses a token from each row of logits: the largest, or a random one with the probabilities of
// softmax(logits / temperature), over all tokens or those that are at least the k-th largest (equal ones included).
//   token[b] = argmax over v of logits[b, v] / temperature + noise(b, v); the lowest v where several are equal
// The noise is Gumbel's, -log(-log(uniform)) of a hash of seed, row, step and token, so that the largest sum is a draw
// from softmax. Devices may differ in the last bits of the noise, and so in a token in many thousands.
// logits [rows, width], token i32 [rows]; width counts elements of Logits: vectors of four, or single numbers where V is
// no multiple of four. Logits above -1e38.
// Grid: spread(rows).

const size: u32 = 4; // numbers in an element of Logits
const offsets = vec4<u32>(0u, 1u, 2u, 3u); // their tokens, from the first on
const random: bool = true;
const limited: bool = true; // whether p.topK counts
alias Logits = vec4<f32>;
alias Float = vec4<f32>;
alias Word = vec4<u32>;

struct Params { rows: u32, width: u32, topK: u32, seed: u32, step: u32, inverseTemperature: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<Logits>;
@group(0) @binding(2) var<storage, read_write> token: array<i32>;

struct Best { score: f32, token: u32 }

const lowest = -1e38;
var<workgroup> partial: array<Best, 256>;
var<workgroup> histogram: array<atomic<u32>, 256>;
// Leading bits of the k-th largest key, and its rank among the keys that begin with them.
var<workgroup> prefix: u32;
var<workgroup> rank: u32;

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

fn join(a: Best, b: Best) -> Best {
  if (b.score > a.score || (b.score == a.score && b.token < a.token)) { return b; }
  return a;
}

// The key of the k-th largest logit, found eight bits at a time.
fn kthKey(start: u32, lane: u32) -> u32 {
  if (lane == 0u) {
    prefix = 0u;
    rank = p.topK;
  }
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    atomicStore(&histogram[lane], 0u);
    workgroupBarrier();
    let known = prefix;
    let wanted = rank;
    for (var i = start + lane; i < start + p.width; i += 256u) {
      let key = vec4<u32>(keyOf(Float(logits[i])));
      for (var c = 0u; c < size; c++) {
        // Two shifts, since one by 32 is none.
        if (((key[c] >> shift) >> 8u) == known) { atomicAdd(&histogram[(key[c] >> shift) & 255u], 1u); }
      }
    }
    workgroupBarrier();
    var larger = 0u;
    for (var bin = lane + 1u; bin < 256u; bin++) { larger += atomicLoad(&histogram[bin]); }
    if (larger < wanted && wanted <= larger + atomicLoad(&histogram[lane])) {
      prefix = (known << 8u) | lane;
      rank = wanted - larger;
    }
    workgroupBarrier();
  }
  return prefix;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  let start = min(row, p.rows - 1u) * p.width;
  var floor = 0u;
  if (limited) { floor = kthKey(start, lane); }
  let stream = hash(hash(hash(Word(p.seed + 0x9e3779b9u)) ^ Word(row)) + Word(p.step));
  var best = Best(lowest, 0u);
  for (var i = lane; i < p.width; i += 256u) {
    let value = Float(logits[start + i]);
    var score = value;
    if (random) { score = value * p.inverseTemperature + gumbel(hash(stream + Word(i * size) + offsets)); }
    if (limited) { score = select(Float(lowest), score, keyOf(value) >= Word(floor)); }
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
