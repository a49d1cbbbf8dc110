/** The judge of `ftl eval` against a server that misbehaves: a verdict or the reason why there is none, never a wrong one. */
import assert from "node:assert/strict";
import { judgeRows } from "../../lib/cli/judging.ts";
import { judgePrompt } from "../../lib/eval/judge.ts";
import type { RowResult } from "../../lib/eval/results.ts";
import { makeRemoteModel } from "../../lib/hub/remote_model.ts";
import { type Act, type ChatScript, chatScript } from "../helpers/chat_script.ts";

const key = "sk-judge-0123456789abcdef";

const judgeAt = ({ url }: ChatScript) => ({
  ...{ name: "j", prompt: judgePrompt },
  model: makeRemoteModel({
    ...{ endpoint: { baseUrl: url, model: "j", key }, retries: 1, timeout: 200, perMinute: 0, seed: 1, firstWait: 5 },
  }),
});

const rowOf = (text: string): RowResult => ({
  ...{ place: "rows:1", question: "What is 1?", reference: "one", base: { text }, tuned: undefined },
});

const options = (signal = new AbortController().signal) => ({ seed: 1, atOnce: 2, signal, progress: () => {} });

const right: Act = { do: "answer", text: "CORRECT" };

/** What the judge does, the verdict that this is, and the reason that is counted where it is none. */
const cases: [string, Act, 1 | 0 | null, RegExp | null][] = [
  ["a verdict", right, 1, null],
  ["a verdict against", { do: "answer", text: "INCORRECT" }, 0, null],
  ["429", { do: "status", status: 429, headers: { "retry-after": "0" } }, null, /^429, too many requests, 2 times$/],
  ["500", { do: "status", status: 500 }, null, /^500, the server failed, 2 times$/],
  ["silence", { do: "silence" }, null, /^no whole answer within 0\.2 s, 2 times$/],
  ["a verdict that is cut off", { do: "cut", after: "CORR" }, null, /^the answer was cut off after 4 characters/],
  ["JSON of another form", { do: "body", body: '{"verdict": "CORRECT"}' }, null, /^not an answer in OpenAI's form/],
  [
    "a refusal",
    { do: "refuse", text: "CORRECT is a word I will not say" },
    null,
    /^said neither CORRECT nor INCORRECT$/,
  ],
  ["a filter", { ...right, finish: "content_filter" }, null, /^said neither CORRECT nor INCORRECT$/],
  ["chatter", { do: "answer", text: "Well." }, null, /^said neither CORRECT nor INCORRECT$/],
  ["a repeated key", { do: "status", status: 401, body: `bad ${key}` }, null, /^401, .*: bad \[key\]$/],
];

for (const [what, act, verdict, says] of cases) {
  Deno.test(`${what} of a judge is ${verdict === null ? "no verdict, and said" : `the verdict ${verdict}`}`, async () => {
    await chatScript(() => act, async (server) => {
      const row = rowOf("one");
      const failures = await judgeRows(judgeAt(server), [row], options());
      assert.equal(row.base!.judged, verdict);
      assert.equal(row.tuned, undefined);
      assert.deepEqual([...failures.values()], says === null ? [] : [1]);
      if (says !== null) assert.match([...failures.keys()][0], says);
      assert.ok(!JSON.stringify([row, [...failures]]).includes(key));
    });
  });
}

Deno.test("a judge that fails at times is asked again, and stops when it is told to", async () => {
  await chatScript((_, before) => before === 0 ? { do: "cut", after: "INCORR" } : right, async (server) => {
    const rows = ["one", "1", "uno"].map(rowOf);
    assert.equal((await judgeRows(judgeAt(server), rows, options())).size, 0);
    assert.deepEqual(rows.map(({ base }) => base!.judged), [1, 1, 1]);
    assert.equal(server.asked.length, 6);
  });
  await chatScript(() => ({ do: "silence" }), async (server) => {
    const stop = new AbortController(), rows = ["one", "1", "uno"].map(rowOf);
    const judged = judgeRows(judgeAt(server), rows, options(stop.signal));
    while (server.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort(new Error("stopped"));
    await judged;
    assert.deepEqual(rows.map(({ base }) => base!.judged), [undefined, undefined, undefined]);
    assert.equal(server.asked.length, 2);
  });
});
