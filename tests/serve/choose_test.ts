import assert from "node:assert/strict";
import { chooseToken, deviceChoice } from "../../lib/serve/choose.ts";
import type { TokenConstraint, TokenRequest } from "../../lib/serve/engine.ts";
import type { Executor } from "../../lib/ops.ts";
import { answerOf, prompts, request, serveGolden } from "../helpers/serving.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

const logits = () => Float32Array.of(1, 3, 2.5, -1, 0);

/** The choice after a prompt and an answer, and the logits as they were changed. */
function choose(changes: Partial<TokenRequest>, { prompt = [0], answer = [] as number[] } = {}) {
  const changed = logits();
  return { ...chooseToken(changed, { request: request(prompt, changes), tokens: [...prompt, ...answer] }), changed };
}

Deno.test("penalties and biases change logits by their formulas", () => {
  assert.equal(choose({}).token, 1);
  const answer = [1, 1, 2], repeated = choose({ repetitionPenalty: 2 }, { prompt: [3, 0], answer });
  assert.deepEqual([...repeated.changed], [0.5, 1.5, 1.25, -2, 0], "prompt and answer, each token once");
  const penalized = choose({ presencePenalty: 0.5, frequencyPenalty: 0.25 }, { prompt: [3, 0], answer });
  assert.deepEqual([...penalized.changed], [1, 2, 1.75, -1, 0], "the answer only, by its counts");
  const biased = choose({ logitBias: new Map([[4, 100], [1, -100], [99, 5]]) });
  assert.deepEqual([[...biased.changed], biased.token], [[1, -97, 2.5, -1, 100], 4]);
});

Deno.test("logarithms of probabilities are the model's own, whatever was asked to change them", () => {
  const sum = Math.log([...logits()].reduce((sum, x) => sum + Math.exp(x), 0)), at = (v: number) => logits()[v] - sum;
  const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6, `${a} and ${b}`);
  const { token, logprob, top } = choose({ logprobs: 3, logitBias: new Map([[3, 100]]) });
  assert.equal(token, 3);
  near(logprob!, at(3));
  assert.deepEqual(top!.map(({ token }) => token), [1, 2, 0]);
  for (const { token, logprob } of top!) near(logprob, at(token));
  assert.deepEqual(choose({ logprobs: 0 }).top, []);
  assert.deepEqual(choose({ logprobs: 9 }).top!.map(({ token }) => token), [1, 2, 0, 4, 3]);
  assert.equal(choose({}).logprob, undefined);
});

/** Allows one list of tokens after the other; the answer may end when all are through. */
function scripted(script: number[][]): TokenConstraint & { accepted: number[]; disposed: number } {
  const accepted: number[] = [];
  return {
    ...{ accepted, disposed: 0 },
    ready: () => undefined,
    allowed() {
      const words = new Uint32Array(16);
      for (const token of script[accepted.length] ?? []) words[token >> 5] |= 1 << (token & 31);
      return words;
    },
    accept: (token) => void accepted.push(token),
    done: () => accepted.length >= script.length,
    dispose() {
      this.disposed++;
    },
  };
}

Deno.test("a grammar forbids tokens, and the end until it may come", () => {
  const stopIds = new Set([1]);
  assert.equal(choose({ constraint: scripted([[3, 4]]), stopIds }).token, 4);
  assert.equal(choose({ constraint: scripted([]), stopIds }).token, 1);
  assert.equal(choose({ constraint: { ...scripted([[0]]), allowed: () => null }, stopIds }).token, 1);
  assert.throws(() => choose({ constraint: scripted([]) }), /allows no token/);
});

Deno.test("an answer under a grammar follows it, drawn or not, and gives it back once", async () => {
  const { engine } = await serveGolden("llama3", executorFloat64());
  const script = [[7, 500], [8], [300, 301, 302]];
  for (const temperature of [0, 1]) {
    const constraint = scripted(script), stopIds = new Set([2]);
    const free = answerOf(engine.generate(request(prompts[1])));
    const { tokens, finish } = await answerOf(
      engine.generate(request(prompts[0], { constraint, stopIds, temperature, topP: 0.9, topK: 40 })),
    );
    assert.equal(tokens.length, 4);
    script.forEach((allowed, i) => assert.ok(allowed.includes(tokens[i])));
    assert.deepEqual([tokens[3], finish], [2, "stop"]);
    assert.deepEqual([constraint.accepted, constraint.disposed], [tokens.slice(0, 3), 1]);
    assert.equal((await free).tokens.length, 9);
  }
  // Its failure ends its own request alone.
  const broken: TokenConstraint = {
    ...scripted([]),
    allowed() {
      throw new Error("a broken grammar");
    },
  };
  const beside = answerOf(engine.generate(request(prompts[1])));
  await assert.rejects(answerOf(engine.generate(request(prompts[0], { constraint: broken }))), /a broken grammar/);
  assert.equal((await beside).tokens.length, 9);
  await engine.close(0);
});

Deno.test("a grammar that takes its time holds up its own answer alone, and nobody when its client leaves", async () => {
  const { engine } = await serveGolden("llama3", executorFloat64(), { slots: 3 });
  const script = [[7, 500], [8], [300, 301, 302]], stopIds = new Set([2]);
  for (const leaves of [false, true]) {
    const known = Promise.withResolvers<void>(), leave = new AbortController();
    let slow: Promise<void> | undefined = known.promise;
    known.promise.then(() => slow = undefined);
    const constraint = { ...scripted(script), ready: () => slow };
    const waiting = answerOf(engine.generate(request(prompts[0], { constraint, stopIds, signal: leave.signal })));
    assert.equal((await answerOf(engine.generate(request(prompts[1])))).tokens.length, 9);
    assert.deepEqual([engine.stats().running, constraint.accepted], [1, []]);
    // One that comes when nobody but the waiting one is there.
    assert.equal((await answerOf(engine.generate(request(prompts[2])))).tokens.length, 9);
    if (leaves) leave.abort();
    assert.equal(engine.stats().running, leaves ? 0 : 1);
    known.resolve();
    const { tokens, finish } = await waiting;
    assert.deepEqual([tokens.length, finish], leaves ? [0, undefined] : [4, "stop"]);
  }
  await engine.close(0);
});

Deno.test("a device chooses where it can, greedy answers and drawn ones together", () => {
  const device = { chooseTokens: () => ({}) } as unknown as Executor;
  const of = (changes: Partial<TokenRequest>) => ({ request: request([1, 2], changes), tokens: [1, 2, 3] });
  const drawn = { temperature: 0.7, topK: 5, topP: 0.9, minP: 0.1, seed: 9 };
  const options = { temperature: 0.7, top_k: 5, top_p: 0.9, min_p: 0.1, seed: 9, row: 0, step: 1 };
  const greedy = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, seed: 0, row: 0, step: 1 };
  assert.deepEqual(deviceChoice(device, [of(drawn), of({})]), [options, greedy]);
  assert.equal(deviceChoice(executorFloat64(), [of({})]), undefined);
  const more: Partial<TokenRequest>[] = [
    ...[{ presencePenalty: 1 }, { frequencyPenalty: 1 }, { repetitionPenalty: 1.1 }, { logprobs: 0 }],
    ...[{ logitBias: new Map([[1, 1]]) }, { constraint: scripted([]) }],
  ];
  for (const changes of more) assert.equal(deviceChoice(device, [of({}), of(changes)]), undefined);
});
