/**
 * How near an answer's text is to the reference: five measures from 0 to 1, each as the program named beside it computes
 * it (tests/eval/text_metrics_test.ts holds those programs' own numbers). None of them knows what is true: an answer in
 * other words scores low, one that copies a false reference scores high.
 */
import { bagOf, characterNgrams, normalizeAnswer, overlap, rougeWords, squadWords } from "./answer_words.ts";

/** 1 where both texts are the same once normalised: SQuAD's compute_exact. */
export function exactMatch(answer: string, reference: string): number {
  return normalizeAnswer(answer) === normalizeAnswer(reference) ? 1 : 0;
}

/**
 * 1 where the normalised answer holds one of the accepted phrases as whole words: PopQA's accuracy (Mallen et al. 2023),
 * but not inside of longer words or numbers.
 */
export function holdsAccepted(answer: string, accepted: string[]): number {
  const within = ` ${normalizeAnswer(answer)} `;
  return accepted.map(normalizeAnswer).some((phrase) => phrase !== "" && within.includes(` ${phrase} `)) ? 1 : 0;
}

/** Harmonic mean of precision and recall of words, order aside: SQuAD's compute_f1. */
export function tokenF1(answer: string, reference: string): number {
  const a = squadWords(answer), r = squadWords(reference);
  if (a.length === 0 || r.length === 0) return a.length === r.length ? 1 : 0;
  return harmonic(overlap(bagOf(a), bagOf(r)), { of: a.length, and: r.length });
}

/** F-measure of the longest common subsequence of words: rouge_score's rougeL. */
export function rougeL(answer: string, reference: string): number {
  const a = rougeWords(answer), r = rougeWords(reference);
  return harmonic(commonSubsequence(a, r), { of: a.length, and: r.length });
}

const chrfOrder = 6, chrfBeta = 2;

/**
 * chrF2 of one sentence (Popovic 2015; sacreBLEU's CHRF with its defaults), not times 100: precision and recall of
 * character n-grams, averaged over the orders 1 to 6 that both texts are long enough for, recall weighing four times.
 */
export function chrF(answer: string, reference: string): number {
  let precision = 0, recall = 0, orders = 0;
  for (let n = 1; n <= chrfOrder; n++) {
    const a = characterNgrams(answer, n), r = characterNgrams(reference, n);
    const inAnswer = sizeOf(a), inReference = sizeOf(r), shared = overlap(a, r);
    if (inAnswer === 0 || inReference === 0) continue;
    precision += shared / inAnswer;
    recall += shared / inReference;
    orders++;
  }
  if (precision + recall === 0) return 0;
  [precision, recall] = [precision / orders, recall / orders];
  const factor = chrfBeta ** 2;
  return (1 + factor) * precision * recall / (factor * precision + recall);
}

function harmonic(shared: number, { of, and }: { of: number; and: number }): number {
  return shared === 0 ? 0 : 2 * shared / (of + and);
}

function sizeOf(bag: Map<string, number>): number {
  return [...bag.values()].reduce((sum, count) => sum + count, 0);
}

/** Length of the longest common subsequence, one row of the table at a time. */
function commonSubsequence(a: string[], b: string[]): number {
  let previous = new Uint32Array(b.length + 1), current = new Uint32Array(b.length + 1);
  for (const word of a) {
    for (let j = 0; j < b.length; j++) {
      current[j + 1] = word === b[j] ? previous[j] + 1 : Math.max(previous[j + 1], current[j]);
    }
    [previous, current] = [current, previous];
  }
  return previous[b.length];
}
