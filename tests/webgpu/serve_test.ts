/** The engine on WebGPU: answers of the float64 reference, in slots, from prefixes, with tokens chosen on the device. */
import assert from "node:assert/strict";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { alone, answerOf, prompts, request, serveGolden } from "../helpers/serving.ts";
import { goldenGenerator } from "../helpers/generation.ts";
import { gpuTest } from "../helpers/webgpu.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

gpuTest("the engine answers as the reference does, and gives its memory back", async (gpu) => {
  const reference = await goldenGenerator("gemma3", { executor: executorFloat64() });
  const expected = await Promise.all(prompts.map((prompt) => alone(reference, prompt)));
  const executor = createWebgpuExecutor(gpu, { half: false });
  const { base, engine } = await serveGolden("gemma3", executor, { slots: 3 });
  const first = await answerOf(engine.generate(request(prompts[1])));
  assert.deepEqual(first.tokens, expected[1]);
  const together = await Promise.all(prompts.map((prompt) => answerOf(engine.generate(request(prompt)))));
  assert.deepEqual(together.map(({ tokens }) => tokens), expected);
  assert.equal(together[1].cached, prompts[1].length - 1);
  const longer = [...prompts[1], ...expected[1], 17, 18, 19];
  assert.deepEqual((await answerOf(engine.generate(request(longer)))).tokens, await alone(reference, longer));
  const drawn = (beside: number[][]) =>
    Promise.all(
      [prompts[0], ...beside].map((prompt) =>
        answerOf(engine.generate(request(prompt, { temperature: 1.5, topK: 60, seed: 3 })))
      ),
    );
  assert.deepEqual((await drawn([prompts[1]]))[0].tokens, (await drawn([]))[0].tokens);
  // One ends while the next pass is on its way, in vain for it alone.
  const stopIds = new Set([expected[1][3]]), ends = expected[1].indexOf(expected[1][3]) + 1;
  const apart = await Promise.all(
    [request(prompts[1], { stopIds }), request(prompts[0])].map((each) => answerOf(engine.generate(each))),
  );
  assert.deepEqual(apart.map(({ tokens }) => tokens), [expected[1].slice(0, ends), expected[0]]);
  await engine.close(0);
  executor.trim();
  const before = executor.buffers.bytes();
  await alone(base, prompts[0]);
  executor.trim();
  assert.equal(executor.buffers.bytes(), before);
  await executor.dispose();
});
