/** Groups of cells: means over seeds, intervals over questions, and nothing from cells that are not finished. */
import assert from "node:assert/strict";
import { type CellResult, groupCells, spreadOf } from "../../lib/eval/experiment.ts";
import type { EvalResults, RowAnswer } from "../../lib/eval/results.ts";
import { summarize } from "../../lib/eval/summary.ts";
import { assertClose } from "../helpers/close.ts";

function evaluation(tuned: RowAnswer[]): EvalResults {
  const rows = tuned.map((answer, i) => ({
    ...{ place: `q:${i}`, question: `q${i}`, reference: "r", tuned: answer },
    base: { exact: 0, loss: 4, loss_tokens: 2 },
  }));
  const sets = [{ name: "q", role: "trained" as const, source: "q", scores: summarize(rows, { seed: 1 }), rows }];
  return { sets } as unknown as EvalResults;
}

const cell = (name: string, axes: Record<string, unknown>, rest: Partial<CellResult> = {}): CellResult => ({
  ...{ name, axes, rows: 4, status: "done", steps: 3, first_loss: 2, final_loss: 1, train_seconds: 1, eval_seconds: 1 },
  ...{ memory_bytes: null, energy_joules: null, card_energy_joules: null, sets: [] },
  ...rest,
});

const options = { seed: 1, labelOf: ({ data }: Record<string, unknown>) => String(data) };

Deno.test("groupCells() averages each question over the seeds, and keeps the seeds' own spread", () => {
  const evaluated = new Map([
    ["a1", evaluation([{ exact: 1, loss: 2, loss_tokens: 2 }, { exact: 0, loss: 6, loss_tokens: 2 }])],
    ["a2", evaluation([{ exact: 1, loss: 4, loss_tokens: 2 }, { exact: 1, loss: 4, loss_tokens: 2 }])],
    ["b1", evaluation([{ exact: 0 }, { exact: 0 }])],
  ]);
  const cells = [
    cell("a1", { data: "a", seed: 1 }, { final_loss: 0.1 }),
    cell("b1", { data: "b", seed: 1 }),
    cell("a2", { data: "a", seed: 2 }, { final_loss: 0.3 }),
    cell("a3", { data: "a", seed: 3 }, { final_loss: 9, status: "failed" }),
  ];
  const [a, b] = groupCells(cells, { evaluated, ...options });
  assert.deepEqual([a.label, a.axes, a.cells], ["a", { data: "a" }, ["a1", "a2"]]);
  assertClose([a.final_loss!.mean], [0.2], { rtol: 1e-12 });
  assert.deepEqual([a.final_loss!.low, a.final_loss!.high, a.final_loss!.seeds], [0.1, 0.3, 2]);
  const [{ scores, seeds }] = a.sets;
  // Questions score 1 and 0.5 over the seeds, the seeds 0.5 and 1.
  assertClose([scores.tuned!.exact!.value, scores.change!.exact!.value], [0.75, 0.75], { rtol: 1e-12 });
  assert.equal(scores.tuned!.exact!.rows, 2);
  assert.ok(scores.tuned!.exact!.low! >= 0.5 && scores.tuned!.exact!.high! <= 1);
  assert.deepEqual([seeds.exact!.low, seeds.exact!.high], [0.5, 1]);
  // Losses weigh by their tokens: (3 + 5) / 4.
  assertClose([scores.tuned!.loss!.value], [2], { rtol: 1e-12 });
  assert.equal(scores.tuned!.perplexity, undefined);
  assert.equal(b.final_loss!.seeds, 1);
});

Deno.test("groupCells() of cells that are not finished has no numbers", () => {
  const cells = [cell("a", { seed: 1 }, { status: "unfinished", final_loss: 1 })];
  const [group] = groupCells(cells, { evaluated: new Map(), ...options });
  assert.deepEqual([group.cells, group.final_loss, group.sets], [[], null, []]);
  assert.equal(spreadOf([]), null);
});
