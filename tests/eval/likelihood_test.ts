/** Which choice a model would say, and how rows are put through it. */
import assert from "node:assert/strict";
import { pickChoice, rowLosses } from "../../lib/eval/likelihood.ts";
import type { Row } from "../../lib/model/trainable.ts";

const row = (tokens: number): Row => ({ tokens: new Int32Array(tokens), targets: new Uint8Array(tokens) });

/** A model whose loss is a row's length; keeps the passes. */
function fakeModel() {
  const passes: number[][] = [];
  return {
    passes,
    evaluate(rows: Row[]) {
      passes.push(rows.map(({ tokens }) => tokens.length));
      return Promise.resolve(rows.map(({ tokens }) => ({ loss: tokens.length, targets: 1 })));
    },
  };
}

Deno.test("pickChoice() takes the likeliest, and the likeliest per character as the harness counts them", () => {
  const losses = [6, 5, 9].map((loss) => ({ loss, targets: 3 }));
  assert.deepEqual(pickChoice(losses, ["four", "fi", "nine chars"]), { likeliest: 1, likeliestForLength: 2 });
  // Characters, not UTF-16 units: 2 nats over 2 characters lose against 2 over 3.
  assert.equal(pickChoice([{ loss: 2, targets: 1 }, { loss: 2, targets: 1 }], ["👍👍", "abc"]).likeliestForLength, 1);
  assert.deepEqual(pickChoice([{ loss: 1, targets: 1 }, { loss: 1, targets: 1 }], ["a", "b"]), {
    ...{ likeliest: 0, likeliestForLength: 0 },
  });
});

Deno.test("rowLosses() fills passes up to the tokens allowed, keeps the order, and lets a long row go alone", async () => {
  const model = fakeModel(), lengths = [3, 3, 5, 20, 4, 4, 2, 1], done: number[] = [];
  const losses = await rowLosses(model, lengths.map(row), { tokensPerPass: 10, progress: (rows) => done.push(rows) });
  assert.deepEqual(losses.map(({ loss }) => loss), lengths);
  assert.deepEqual(model.passes, [[3, 3], [5], [20], [4, 4, 2], [1]]);
  assert.deepEqual(done, [2, 3, 4, 7, 8]);
});

Deno.test("rowLosses() stops between passes", async () => {
  const model = fakeModel(), stop = new AbortController();
  const options = { tokensPerPass: 1, signal: stop.signal, progress: (rows: number) => rows === 2 && stop.abort() };
  assert.equal((await rowLosses(model, [1, 1, 1, 1].map(row), options)).length, 2);
});
