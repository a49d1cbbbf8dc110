/**
 * Chooses the next token from logits, as Hugging Face's generate does: repetition penalty, temperature, top-k, top-p,
 * min-p, in this order. A draw depends on seed, row and step alone, not on what else is in the batch.
 *
 * kernels/sample.wgsl does the same on a GPU, all but the penalty: the same tokens are left out, and the same noise
 * draws among the others, so that a seed gives the same answer wherever logits are equal but for a few last bits.
 */
import { lowbias32 } from "./hash.ts";

/** Names and meanings of Hugging Face's GenerationConfig; what is absent is off. */
export interface SamplingOptions {
  /** 0 or absent: always the most likely token. */
  temperature?: number;
  /** Only the k most likely tokens, and those as likely as the last of them. */
  top_k?: number;
  /** Only the most likely tokens that together reach this probability, and those as likely as the last of them. */
  top_p?: number;
  /** Only tokens with at least this share of the most likely one's probability. */
  min_p?: number;
  /** Above 1: tokens of prompt and answer become less likely. */
  repetition_penalty?: number;
  /** Default 0. */
  seed?: number;
}

/**
 * The next token. `logits` [V] are changed by a repetition penalty; `history` is the prompt and the answer so far, `step`
 * the length of that answer.
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions & { history: ArrayLike<number>; row: number; step: number },
): number {
  const { temperature = 0, repetition_penalty: penalty = 1, history } = options;
  penalizeRepetition(logits, history, penalty);
  if (!(temperature > 0)) return largest(logits);
  // The largest sum of a logit and Gumbel's noise is a draw from softmax.
  const noise = gumbel(options.seed ?? 0, options.row, options.step);
  let best = -1, most = -Infinity;
  for (const { token, logit } of likely(logits, options)) {
    const score = logit / temperature + noise(token);
    if (score > most || (score === most && token < best)) [best, most] = [token, score];
  }
  return best;
}

/** Makes tokens that came before less likely, or, below 1, more. */
export function penalizeRepetition(logits: Float32Array, history: ArrayLike<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const token of new Set(Array.from(history))) logits[token] *= logits[token] > 0 ? 1 / penalty : penalty;
}

function largest(logits: Float32Array): number {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  return best;
}

interface Candidate {
  token: number;
  logit: number;
  /** exp((logit - largest)/temperature) */
  weight: number;
}

/** The tokens that top-k, top-p and min-p leave, the most likely one among them. */
function likely(logits: Float32Array, options: SamplingOptions): Candidate[] {
  const { temperature = 1, top_k = 0, top_p = 1, min_p = 0 } = options;
  const top = logits[largest(logits)];
  const above = (floor: number): Candidate[] => {
    const found: Candidate[] = [];
    for (let v = 0; v < logits.length; v++) {
      if (logits[v] >= floor) {
        found.push({ token: v, logit: logits[v], weight: Math.exp((logits[v] - top) / temperature) });
      }
    }
    return found;
  };
  const kept = top_k > 0 || top_p < 1 ? mostLikely() : above(-Infinity);
  return min_p > 0 ? kept.filter(({ weight }) => weight >= Math.min(min_p, 1)) : kept;

  /**
   * Top-k, then top-p, most likely first. Sorting a whole vocabulary costs more than a model's step: only the tokens
   * above a floor are sorted, and the floor sinks until all that is wanted lies above it.
   */
  function mostLikely(): Candidate[] {
    const k = top_k > 0 ? Math.min(top_k, logits.length) : logits.length;
    let total = 0;
    for (let v = 0; v < logits.length; v++) total += Math.exp((logits[v] - top) / temperature);
    for (let depth = 8;; depth *= 2) {
      const found = above(top - depth * temperature);
      const enough = found.length >= k || (top_k <= 0 && weightOf(found) >= top_p * total);
      if (!enough && depth < 1e6) continue;
      found.sort((a, b) => b.logit - a.logit);
      const first = firstOf(found, k);
      return top_p < 1 ? nucleus(first, top_p * (top_k > 0 ? weightOf(first) : total)) : first;
    }
  }
}

function weightOf(candidates: Candidate[]): number {
  return candidates.reduce((sum, { weight }) => sum + weight, 0);
}

/** The first of a sorted list, and those as likely as the last of them. */
function firstOf(sorted: Candidate[], count: number): Candidate[] {
  let end = Math.min(count, sorted.length);
  while (end < sorted.length && sorted[end].logit === sorted[end - 1].logit) end++;
  return sorted.slice(0, end);
}

/** The shortest beginning of a sorted list whose weights reach `wanted`. */
function nucleus(sorted: Candidate[], wanted: number): Candidate[] {
  let sum = 0;
  const end = sorted.findIndex(({ weight }) => (sum += weight) >= wanted);
  return end < 0 ? sorted : firstOf(sorted, end + 1);
}

/** Noise of each token, -log(-log(uniform)) of a hash of four numbers, in 23 bits as a GPU's f32 holds them. */
function gumbel(seed: number, row: number, step: number): (token: number) => number {
  const stream = lowbias32(lowbias32(lowbias32(seed + 0x9e3779b9) ^ row) + step);
  return (token) => -Math.log(-Math.log1p(-((lowbias32(stream + token) >>> 9) + 0.5) / 2 ** 23));
}
