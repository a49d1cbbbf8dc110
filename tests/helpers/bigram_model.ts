/**
 * The smallest model that trains: logits of the next token are a row of a matrix plus a bias. It has an exact gradient,
 * one parameter large enough for 8-bit optimiser state and one small, and a dropout that depends on the seed alone.
 */
import type { Parameter, Row, RowLoss, Trainable } from "../../lib/model/trainable.ts";
import { randomFloats } from "./random.ts";

/** Vocabulary; its square is above 4096. */
export const vocab = 70;

export interface BigramOptions {
  /** Share of positions whose gradient is left out, chosen by dropoutSeed. */
  dropout?: number;
  /** Called before each pass; may throw, or return a factor for the losses and gradients. */
  onPass?: (rows: Row[]) => number | void;
}

export function bigramModel(options: BigramOptions = {}): Trainable {
  const parameter = (name: string, shape: [number, number] | [number]): Parameter => {
    const length = shape.reduce((a: number, b) => a * b, 1);
    return { name, shape, value: randomFloats(length, length).map((x) => x / 10), grad: new Float32Array(length) };
  };
  const weight = parameter("base_model.bigram.weight", [vocab, vocab]),
    bias = parameter("base_model.bigram.bias", [vocab]);

  function rowLoss({ tokens, targets }: Row, gradient?: { scale: number; seed: number }): RowLoss {
    const result = { loss: 0, targets: 0 };
    for (let i = 1; i < tokens.length; i++) {
      if (!targets[i]) continue;
      const from = tokens[i - 1] * vocab, to = tokens[i];
      const logits = Float64Array.from({ length: vocab }, (_, j) => weight.value[from + j] + bias.value[j]);
      const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
      result.loss += Math.log(sum) - logits[to];
      result.targets++;
      if (!gradient) continue;
      if (Math.abs(randomFloats(1, gradient.seed + i)[0]) < (options.dropout ?? 0)) continue;
      for (let j = 0; j < vocab; j++) {
        const d = gradient.scale * (Math.exp(logits[j]) / sum - (j === to ? 1 : 0));
        weight.grad[from + j] += d;
        bias.grad[j] += d;
      }
    }
    return result;
  }

  return {
    parameters: [weight, bias],
    accumulate(rows, { scale, first, dropoutSeed = 0 }) {
      const factor = options.onPass?.(rows) ?? 1;
      if (first) { for (const { grad } of [weight, bias]) grad.fill(0); }
      const losses = rows.map((row) => rowLoss(row, { scale: scale * factor, seed: dropoutSeed }));
      const take = () => losses.map(({ loss, targets }) => ({ loss: loss * factor, targets }));
      return Promise.resolve({ values: [], take, read: () => Promise.resolve(take()) });
    },
    evaluate: (rows) => Promise.resolve(rows.map((row) => rowLoss(row))),
  };
}

/** Rows of uneven lengths with a prompt that is no target; the next token often follows from the last. */
export function bigramRows(count: number, seed = 0): Row[] {
  return Array.from({ length: count }, (_, r) => {
    const length = 5 + (7 * r + seed) % 11;
    const noise = randomFloats(length, seed + r);
    const tokens = new Int32Array(length).fill(1);
    for (let i = 1; i < length; i++) {
      tokens[i] = noise[i] > 0 ? (3 * tokens[i - 1] + 2) % vocab : Math.floor(Math.abs(noise[i]) * vocab);
    }
    return { tokens, targets: Uint8Array.from(tokens, (_, i) => i >= 2 + r % 3 ? 1 : 0) };
  });
}
