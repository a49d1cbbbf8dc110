/**
 * Loss and gradient of one optimiser step's rows, and the loss of held-out rows. Loss is the sum over all target tokens
 * of the window divided by their number; since the divisor is known beforehand, any split into passes gives the same
 * gradient up to rounding.
 */
import { UserError } from "../errors.ts";
import type { Row, RowLoss, Trainable } from "../model/trainable.ts";

export interface WindowLoss {
  /** Mean over the target tokens, nats. */
  loss: number;
  targets: number;
  /** All tokens of the rows, prompts included. */
  tokens: number;
}

/** Leaves the window's gradient in the parameters' `grad`. `position` is the first row's; it names the dropout masks. */
export async function windowGradient(
  model: Trainable,
  rows: Row[],
  options: { rowsPerPass: number; seed: number; position: number },
): Promise<WindowLoss> {
  const targets = rows.reduce((sum, row) => sum + targetCount(row), 0);
  if (targets === 0) {
    throw new UserError(`No target token in the ${rows.length} rows from position ${options.position} on`, {
      hint: "Every token is masked: check train_on_responses_only and that answers fit max_length.",
    });
  }
  const losses: RowLoss[] = [];
  for (let start = 0; start < rows.length; start += options.rowsPerPass) {
    const pass = rows.slice(start, start + options.rowsPerPass);
    losses.push(
      ...await model.accumulate(pass, {
        scale: 1 / targets,
        first: start === 0,
        dropoutSeed: passSeed(options.seed, options.position + start),
      }),
    );
  }
  return {
    loss: losses.reduce((sum, row) => sum + row.loss, 0) / targets,
    targets,
    tokens: rows.reduce((sum, row) => sum + row.tokens.length, 0),
  };
}

/** Mean loss over the target tokens of held-out `rows`, dropout off. UserError when it is not a number. */
export async function meanLoss(model: Trainable, rows: Row[], options: { rowsPerPass: number }): Promise<number> {
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
