import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Executor } from "../../lib/ops.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { EngineStopped, QueueFull } from "../../lib/serve/engine.ts";
import { alone, answerOf, prompts, request, serveGolden, withAdapter, writeRandomAdapter } from "../helpers/serving.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

const executors: Record<string, () => Executor | Promise<Executor>> = {
  "the reference": executorFloat64,
  "ONNX Runtime": () => createOnnxExecutor({ threads: 1 }),
  "WebAssembly": () => createWasmExecutor({ threads: 2 }),
};

for (const [title, make] of Object.entries(executors)) {
  for (const name of ["llama3", "gemma3", "qwen2"]) {
    Deno.test(`the engine answers as generate() does, alone, beside others and after a cached prefix: ${name}, ${title}`, async () => {
      const executor = await make(), { base, engine } = await serveGolden(name, executor, { slots: 3 });
      const expected = await Promise.all(prompts.map((prompt) => alone(base, prompt)));
      const first = await answerOf(engine.generate(request(prompts[1])));
      assert.deepEqual([first.tokens, first.finish, first.cached], [expected[1], "length", 0]);
      const together = await Promise.all(prompts.map((prompt) => answerOf(engine.generate(request(prompt)))));
      assert.deepEqual(together.map(({ tokens }) => tokens), expected);
      assert.equal(together[1].cached, prompts[1].length - 1);
      // A conversation goes on: the answer is cached but for its last token.
      const longer = [...prompts[1], ...expected[1], 17, 18, 19];
      const next = await answerOf(engine.generate(request(longer)));
      assert.deepEqual(next.tokens, await alone(base, longer));
      assert.equal(next.cached, longer.length - 4);
      assert.deepEqual(engine.stats(), {
        ...{ running: 0, waiting: 0, promptTokens: 11 + 15 + 23, cachedTokens: 10 + 19, answerTokens: 5 * 9 },
      });
      await engine.close(1000);
      await executor.dispose();
    });
  }
}

Deno.test("requests that come while others are answered, and wait for a slot, are answered alike", async () => {
  const { base, engine } = await serveGolden("mistral", executorFloat64());
  const many = Array.from(
    { length: 7 },
    (_, i) => Array.from({ length: 3 + 5 * (i % 4) }, (_, l) => (l * 37 + i * 11) % 512),
  );
  const expected = await Promise.all(many.map((prompt) => alone(base, prompt)));
  const first = answerOf(engine.generate(request(many[0])));
  const later: ReturnType<typeof answerOf>[] = [];
  for await (const _ of engine.generate(request(many[1]))) {
    if (later.length < 5) later.push(answerOf(engine.generate(request(many[later.length + 2]))));
  }
  const found = [await first, ...await Promise.all(later)].map(({ tokens }) => tokens);
  assert.deepEqual(found, [expected[0], ...expected.slice(2)]);
  await engine.close(0);
});

Deno.test("an answer ends at a stop id, at its limit and where the context ends", async () => {
  const { base, engine } = await serveGolden("llama3", executorFloat64(), { contextLength: 20 });
  const free = await alone(base, prompts[0], 30);
  const stop = free[3], at = free.indexOf(stop);
  const stopped = await answerOf(engine.generate(request(prompts[0], { stopIds: new Set([stop]) })));
  assert.deepEqual([stopped.tokens, stopped.finish], [free.slice(0, at + 1), "stop"]);
  const cut = await answerOf(engine.generate(request(prompts[0], { maxTokens: 100 })));
  assert.deepEqual([cut.tokens, cut.finish], [free.slice(0, 17), "length"]);
  assert.deepEqual((await answerOf(engine.generate(request(prompts[0], { maxTokens: 0 })))).tokens, []);
  await engine.close(0);
});

Deno.test("a seed gives the same answer alone and beside others", async () => {
  const { engine } = await serveGolden("llama3", executorFloat64(), { slots: 3 });
  const draw = (seed: number) => engine.generate(request(prompts[1], { temperature: 1.5, topK: 60, seed }));
  const one = (await answerOf(draw(7))).tokens, [again, other] = await Promise.all([draw(7), draw(8)].map(answerOf));
  assert.deepEqual(again.tokens, one);
  assert.notDeepEqual(other.tokens, one);
  await engine.close(0);
});

Deno.test("one who goes away frees the slot before the next token, answering, reading or waiting", async () => {
  const { base, engine } = await serveGolden("llama3", executorFloat64(), { slots: 1, contextLength: 4096 });
  const control = new AbortController(), waiting = new AbortController(), { signal } = control;
  const stream = engine.generate(request(prompts[0], { maxTokens: 4000, signal }));
  const gone = engine.generate(request(prompts[1], { signal: waiting.signal }));
  const second = answerOf(engine.generate(request(prompts[1])));
  let count = 0;
  for await (const _ of stream) {
    if (++count < 2) continue;
    assert.deepEqual([engine.stats().running, engine.stats().waiting], [1, 2]);
    waiting.abort();
    assert.deepEqual([engine.stats().running, engine.stats().waiting], [1, 1]);
    control.abort();
    assert.equal(engine.stats().running, 0);
  }
  assert.deepEqual((await second).tokens, await alone(base, prompts[1]));
  assert.deepEqual((await answerOf(gone)).tokens, []);
  assert.ok(engine.stats().answerTokens <= 3 + 9, "no token after the next");
  // A reader that stops reading has gone too.
  for await (const _ of engine.generate(request(prompts[0], { maxTokens: 4000 }))) break;
  assert.equal(engine.stats().running, 0);
  // While its prompt is read.
  const reading = new AbortController(), long = Array.from({ length: 1000 }, (_, i) => i % 512);
  const read = answerOf(engine.generate(request(long, { signal: reading.signal })));
  await new Promise<void>((resolve) => setTimeout(resolve));
  reading.abort();
  assert.equal(engine.stats().running, 0);
  assert.deepEqual((await read).tokens, []);
  await engine.close(0);
});

Deno.test("a full queue refuses at once and says when to come again", async () => {
  const { engine } = await serveGolden("llama3", executorFloat64(), { slots: 1, queue: 1 });
  const taken = [0, 1].map(() => answerOf(engine.generate(request(prompts[0]))));
  assert.throws(() => engine.generate(request(prompts[0])), (error) => {
    assert.ok(error instanceof QueueFull && error.retryAfter >= 1 && error.retryAfter <= 60);
    return true;
  });
  assert.deepEqual((await Promise.all(taken)).map(({ tokens }) => tokens.length), [9, 9]);
  assert.equal((await answerOf(engine.generate(request(prompts[0])))).tokens.length, 9);
  await engine.close(0);
});

for (const [title, make] of Object.entries(executors)) {
  Deno.test(`adapters come, answer beside the base and each other, and go: ${title}`, async () => {
    await inTempFolder(async (dir) => {
      const executor = await make(), { base, engine } = await serveGolden("qwen3", executor, { slots: 3 });
      const folders = ["one", "two"].map((id) => `${dir}/${id}`);
      folders.forEach((folder, i) => writeRandomAdapter(folder, { base, seed: i + 1 }));
      const running = answerOf(engine.generate(request(prompts[1])));
      for (const [i, id] of ["one", "two"].entries()) {
        await engine.addAdapter({ id, folder: folders[i], aliases: [`${id}!`] });
      }
      assert.deepEqual(engine.models().map(({ id, parent, aliases }) => [id, parent, aliases]), [
        ["base", undefined, []],
        ["one", "base", ["one!"]],
        ["two", "base", ["two!"]],
      ]);
      const models = ["one", "base", "two"];
      const generators = [await withAdapter(base, folders[0]), base, await withAdapter(base, folders[1])];
      const expected = await Promise.all(generators.map((generator) => alone(generator, prompts[1])));
      assert.equal(new Set(expected.map(String)).size, 3, "three different answers");
      assert.deepEqual((await running).tokens, expected[1]);
      for (let round = 0; round < 2; round++) {
        const found = await Promise.all(
          models.map((model) => answerOf(engine.generate(request(prompts[1], { model })))),
        );
        assert.deepEqual(found.map(({ tokens }) => tokens), expected);
      }
      // One that is answering is waited for; new requests for it are refused.
      const last = engine.generate(request(prompts[0], { model: "one" })), removed = engine.removeAdapter("one");
      assert.throws(() => engine.generate(request(prompts[0], { model: "one" })), UserError);
      assert.deepEqual((await answerOf(last)).tokens, await alone(generators[0], prompts[0]));
      await removed;
      assert.deepEqual(engine.models().map(({ id }) => id), ["base", "two"]);
      // Another adapter under the same name does not meet the cache of the first.
      await engine.addAdapter({ id: "one", folder: folders[1], aliases: [] });
      const renamed = await answerOf(engine.generate(request(prompts[1], { model: "one" })));
      assert.deepEqual([renamed.tokens, renamed.cached], [expected[2], 0]);
      await assert.rejects(engine.addAdapter({ id: "two", folder: folders[0], aliases: [] }), UserError);
      await assert.rejects(engine.addAdapter({ id: "three", folder: `${dir}/none`, aliases: [] }), UserError);
      await assert.rejects(engine.removeAdapter("base"), UserError);
      await engine.close(0);
      await executor.dispose();
    });
  });
}

Deno.test("close() answers what runs, ends what waits and refuses what is new; after its limit it ends all", async () => {
  for (const limit of [60_000, 0]) {
    const { engine } = await serveGolden("llama3", executorFloat64(), { slots: 1, contextLength: 4096 });
    const stream = engine.generate(request(prompts[0], { maxTokens: limit ? 9 : 4000 }));
    const running = answerOf(stream), waiting = answerOf(engine.generate(request(prompts[0])));
    const seen = Promise.allSettled([running, waiting]);
    // Admitted by then.
    await new Promise<void>((resolve) => setTimeout(resolve));
    const closed = engine.close(limit);
    assert.throws(() => engine.generate(request(prompts[0])), EngineStopped);
    await assert.rejects(engine.embed("base", [Int32Array.of(1)], new AbortController().signal), EngineStopped);
    await closed;
    const [first, second] = await seen;
    assert.equal(first.status, limit ? "fulfilled" : "rejected");
    if (first.status === "fulfilled") assert.equal(first.value.tokens.length, 9);
    assert.ok(second.status === "rejected" && second.reason instanceof EngineStopped);
    assert.deepEqual([engine.stats().running, engine.stats().waiting], [0, 0]);
    await engine.close(limit);
  }
});

Deno.test("an executor that fails ends the requests it meets with its error, and the others are told", async () => {
  const inner = executorFloat64();
  let left = Infinity;
  const executor: Executor = {
    ...inner,
    run: (...args) => left-- > 0 ? inner.run(...args) : Promise.reject(new Error("the device is lost")),
  };
  const { engine } = await serveGolden("llama3", executor, { slots: 1 });
  left = 12;
  const streams = [0, 1].map(() => answerOf(engine.generate(request(prompts[0], { maxTokens: 50 }))));
  const [first, second] = await Promise.allSettled(streams);
  assert.ok(first.status === "rejected" && /device is lost/.test(first.reason.message));
  assert.ok(second.status === "rejected" && second.reason instanceof EngineStopped);
  assert.throws(() => engine.generate(request(prompts[0])), (error) => {
    assert.ok(error instanceof EngineStopped && /device is lost/.test((error.cause as Error).message));
    return true;
  });
  await engine.close(1000);
});

Deno.test("embed() is the mean of the final states, of length 1", async () => {
  const { engine } = await serveGolden("gemma3", executorFloat64());
  const running = answerOf(engine.generate(request(prompts[0]))), { signal } = new AbortController();
  const [a, b, c] = await engine.embed(
    "base",
    [prompts[1], prompts[0], prompts[1]].map((p) => Int32Array.from(p)),
    signal,
  );
  await running;
  for (const vector of [a, b, c]) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-6);
  assert.deepEqual(a, c);
  assert.ok(a.reduce((sum, x, i) => sum + x * b[i], 0) < 0.999);
  await assert.rejects(engine.embed("none", [], signal), UserError);
  await assert.rejects(engine.embed("base", [Int32Array.of(1)], AbortSignal.abort()), /abort/i);
  await engine.close(0);
});
