/**
 * Loss and gradient of one optimiser step's rows, and the loss of held-out rows. Loss is the sum over all target tokens
 * of the window divided by their number; since the divisor is known beforehand, any split into passes gives the same
 * gradient up to rounding.
 */
import { UserError } from "../errors.ts";
import type { PendingLosses, Row, RowLoss, Trainable } from "../model/trainable.ts";

export interface WindowOptions {
  rowsPerPass: number;
  seed: number;
  /** Of the first row; it names the dropout masks. */
  position: number;
  /** Factor of the gradient, for engines whose numbers are small. Default 1. */
  lossScale?: number;
}

export interface WindowLoss {
  /** Mean over the target tokens, nats. */
  loss: number;
  /** All tokens of the rows, prompts included. */
  tokens: number;
}

/** A window whose passes may still be running. */
export interface PendingWindow {
  /** Losses of each pass. */
  passes: PendingLosses[];
  /** What the passes' losses say of the window. */
  result(losses: RowLoss[]): WindowLoss;
}

/** Gives all passes of a window to the model, which leaves the window's gradient in its parameters' gradients. */
export async function queueWindow(model: Trainable, rows: Row[], options: WindowOptions): Promise<PendingWindow> {
  const { rowsPerPass, position, seed, lossScale = 1 } = options;
  const targets = rows.reduce((sum, row) => sum + targetCount(row), 0);
  if (targets === 0) {
    throw new UserError(`No target token in the ${rows.length} rows from position ${position} on`, {
      hint: "Every token is masked: check train_on_responses_only and that answers fit max_length.",
    });
  }
  const passes: PendingLosses[] = [];
  for (let start = 0; start < rows.length; start += rowsPerPass) {
    const pass = rows.slice(start, start + rowsPerPass), dropoutSeed = passSeed(seed, position + start);
    passes.push(await model.accumulate(pass, { scale: lossScale / targets, first: start === 0, dropoutSeed }));
  }
  return {
    passes,
    result: (losses) => ({
      loss: losses.reduce((sum, row) => sum + row.loss, 0) / targets,
      tokens: rows.reduce((sum, row) => sum + row.tokens.length, 0),
    }),
  };
}

/** Leaves the window's gradient in the parameters' `grad`. */
export async function windowGradient(model: Trainable, rows: Row[], options: WindowOptions): Promise<WindowLoss> {
  const { passes, result } = await queueWindow(model, rows, options);
  const losses: RowLoss[] = [];
  for (const pass of passes) losses.push(...await pass.read());
  return result(losses);
}

/** Mean loss over the target tokens of held-out `rows`, dropout off. UserError when it is not a number. */
export async function meanLoss(
  model: Pick<Trainable, "evaluate">,
  rows: Row[],
  options: { rowsPerPass: number },
): Promise<number> {
  let sum = 0, targets = 0;
  for (let start = 0; start < rows.length; start += options.rowsPerPass) {
    for (const row of await model.evaluate(rows.slice(start, start + options.rowsPerPass))) {
      sum += row.loss;
      targets += row.targets;
    }
  }
  if (!Number.isFinite(sum / targets)) {
    throw new UserError(
      `The loss of the ${rows.length} held-out rows is ${sum / targets} over ${targets} target tokens`,
      {
        hint: targets === 0
          ? "Every token is masked: check train_on_responses_only and that answers fit max_length."
          : "Lower learning_rate, or look for broken weights.",
      },
    );
  }
  return sum / targets;
}

function targetCount({ targets }: Row): number {
  let count = 0;
  for (let i = 1; i < targets.length; i++) count += targets[i];
  return count;
}

/** A seed of 32 bits for the pass that starts at `position`: nothing to save, the position says it. */
function passSeed(seed: number, position: number): number {
  let x = (seed ^ Math.imul(position + 1, 0x9e3779b9)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
