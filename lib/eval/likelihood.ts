/**
 * What a model finds likely: the loss of reference answers, and which of several choices it would rather say. Rows go
 * through the forward of training (lib/model/trainable_model.ts), so that a loss here is the loss there.
 */
import type { Row, RowLoss, Trainable } from "../model/trainable.ts";

export interface PassOptions {
  /** Tokens that go through the model at a time; a longer row goes alone. */
  tokensPerPass: number;
  /** Told how many rows are done. */
  progress?: (rows: number) => void;
  signal?: AbortSignal;
}

/** Sums of the target tokens' losses, in nats, row by row. Stops early, with fewer, when the signal says so. */
export async function rowLosses(
  model: Pick<Trainable, "evaluate">,
  rows: Row[],
  { tokensPerPass, progress, signal }: PassOptions,
): Promise<RowLoss[]> {
  const losses: RowLoss[] = [];
  while (losses.length < rows.length && !signal?.aborted) {
    const pass: Row[] = [];
    for (let tokens = 0; losses.length + pass.length < rows.length; pass.push(rows[losses.length + pass.length])) {
      tokens += rows[losses.length + pass.length].tokens.length;
      if (tokens > tokensPerPass && pass.length > 0) break;
    }
    losses.push(...await model.evaluate(pass));
    progress?.(losses.length);
    // Lets Ctrl-C in, however synchronous the model is.
    await new Promise((resolve) => setTimeout(resolve));
  }
  return losses;
}

/** Places of the likeliest choice, and of the likeliest for its length. */
export interface Picked {
  likeliest: number;
  /** By nats a character. */
  likeliestForLength: number;
}

/**
 * The choice with the highest log-likelihood after the question, and the one with the highest per character: acc and
 * acc_norm of EleutherAI's lm-evaluation-harness (api/task.py, process_results of multiple_choice). Of equals the first.
 */
export function pickChoice(losses: RowLoss[], texts: string[]): Picked {
  const perLength = losses.map(({ loss }, i) => loss / [...texts[i]].length);
  return { likeliest: lowest(losses.map(({ loss }) => loss)), likeliestForLength: lowest(perLength) };
}

function lowest(values: number[]): number {
  return values.reduce((best, value, i) => value < values[best] ? i : best, 0);
}
