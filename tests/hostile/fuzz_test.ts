/** A few seconds of the fuzzer, the same files every time; fuzz.ts runs as long as one likes. */
import assert from "node:assert/strict";
import { fuzz } from "./fuzz.ts";
import { readers } from "./readers.ts";

Deno.test("damaged files of every kind are read or refused with one line, in bounded time and memory", async (test) => {
  for (const reader of readers) {
    await test.step(reader.name, async () => {
      const { findings, refused } = await fuzz(reader, { seed: 1, stop: (executions) => executions === 40 });
      assert.deepEqual(findings.map(({ fault }) => fault), []);
      assert.ok(reader.name === "dataset card" || refused >= 10, `${refused} of 40 refused`);
    });
  }
});
