/**
 * The real model's greedy tokens, asked for over HTTP of a running `ftl serve`: alone and beside others, with the cache of
 * an earlier request and without, base and adapter. They must be those of `ftl run`, the likeliest ones of the forward
 * that training runs, and those of real llama.cpp on the F16 GGUF of the same numbers.
 */
import assert from "node:assert/strict";
import { basename, dirname } from "node:path";
import { fetchModel } from "../../lib/cli/pull.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { writeAdapter } from "../../lib/export/peft.ts";
import { attachAdapter, type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import { batchValues, makeBatch, releaseBatch } from "../../lib/model/batch.ts";
import type { Generator } from "../../lib/model/decode.ts";
import { embedSegment, layerSegment, logitsSegment } from "../../lib/model/forward.ts";
import { projections } from "../../lib/model/names.ts";
import { type ModelSource, openModel } from "../../lib/model/source.ts";
import type { Parameter } from "../../lib/model/trainable.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
import { type Tokenizer, tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { post } from "../helpers/http_server.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { randomFloats } from "../helpers/random.ts";
import { startServe } from "../helpers/served.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`served_tokens_test: ${missing}`);

const count = 32;

/**
 * By model; the two likeliest tokens stay `margin` apart all through these answers, so that no rounding decides: that of
 * weights and activations to F16 moves logits by up to 0.02.
 */
const questions = {
  "smollm2-135m": [
    "List the days of the week and the months of the year.",
    "What is 2 + 2?",
    "What is the opposite of hot?",
    "Where is Ghana?",
  ],
  tuned: [
    "List the days of the week and the months of the year.",
    "What is jollof?",
    "What is the opposite of hot?",
    "Where is Ghana?",
  ],
};
const margin = 0.035;
type Model = keyof typeof questions;
const models = Object.keys(questions) as Model[];
const asked = models.flatMap((model) => questions[model].map((question) => ({ model, question })));

const settings: LoraSettings = {
  ...{ r: 8, lora_alpha: 8, lora_dropout: 0, use_rslora: false, use_dora: false },
  ...{ target_modules: [...projections], init_lora_weights: "hash", seed: 0 },
};

interface Answer {
  text: string;
  tokens: string[];
  finish: string;
  cached: number;
}

Deno.test({
  name:
    "the server's greedy tokens are those of ftl run, of training's forward and of llama.cpp, alone or beside others",
  ignore: missing !== null,
  fn: () =>
    inTempFolder(async (dir) => {
      const source = openModel(await fetchModel("smollm2-135m"));
      const parameters = makeParameters(source.config, settings);
      for (const [i, { name, value }] of parameters.entries()) {
        if (name.includes("lora_B")) value.set(randomFloats(value.length, i).map((x) => x * 0.05));
      }
      Deno.mkdirSync(`${dir}/tuned`);
      writeAdapter(`${dir}/tuned`, { settings, parameters, baseModel: "smollm2-135m" });

      const answers = await fromServer(`${dir}/tuned`);
      for (const model of models) {
        const [question] = questions[model], [answer] = answers[model];
        assert.equal(await fromRun(model, question, `${dir}/tuned`), answer.text.trim());
      }

      const found = source.tokenizer();
      assert.ok(found.kind === "gguf");
      const tokenizer = tokenizerFromGguf(found.metadata, source.path);
      const prompts = (model: Model) => questions[model].map((question) => promptIds(source, tokenizer, question));
      const ids = await likeliest(source, { parameters, prompts, answers, tokenizer });
      for (const model of models) {
        const gguf = `${dir}/${model}.gguf`, adapter = model === "tuned" ? { settings, parameters } : null;
        exportGguf(gguf, { source: asQuantised(source), adapter, dtype: "F16" });
        const greedy = prompts(model).map((tokens) => ({ tokens, count }));
        const theirs = (await llamaCpp({ gguf, exact: true, greedy })).greedy;
        ids[model].forEach((own, i) => assert.deepEqual(theirs[i].slice(0, own.length), own, questions[model][i]));
        Deno.removeSync(gguf);
      }
      source.close();
    }),
});

/** Answers of `ftl serve`, once it has given the same ones in every company. */
async function fromServer(adapter: string): Promise<Record<Model, Answer[]>> {
  const server = await startServe([
    ...["smollm2-135m", "--adapter", adapter, "--engine", "onnx", "--port", "0", "--context", "512"],
    ...["--parallel", String(asked.length), "--allow-adapters", dirname(adapter)],
  ]);
  try {
    const ask = async ({ model, question }: { model: string; question: string }): Promise<Answer> => {
      const response = await post(`${server.url}/v1/chat/completions`, {
        ...{ model, messages: [{ role: "user", content: question }] },
        ...{ temperature: 0, max_tokens: count, logprobs: true },
      });
      const { choices: [{ message, logprobs, finish_reason }], usage } = await response.json();
      const tokens = logprobs.content.map(({ token }: { token: string }) => token);
      const cached = usage.prompt_tokens_details.cached_tokens;
      return { text: message.content, tokens, finish: finish_reason, cached };
    };
    const first: Answer[] = [];
    for (const each of asked) first.push(await ask(each));
    assert.equal(first[0].cached, 0, "the first has nothing to reuse");
    const again = await Promise.all(asked.map(ask));
    const reused = again.filter(({ cached }) => cached > 20).length;
    assert.ok(reused * 2 >= again.length, `${reused} of ${again.length} prompts were in the cache`);
    // In another order, so that other requests stand beside each.
    const mixed = await Promise.all(asked.toReversed().map(ask));
    const without = ({ cached: _, ...rest }: Answer) => rest;
    assert.deepEqual(again.map(without), first.map(without));
    assert.deepEqual(mixed.toReversed().map(without), first.map(without));
    // The same adapter under another name, added while the server runs.
    const loaded = "Success: LoRA adapter 'later' added successfully.";
    const added = { lora_name: "later", lora_path: basename(adapter) };
    assert.equal(await post(`${server.url}/v1/load_lora_adapter`, added).then((answer) => answer.text()), loaded);
    const [question] = questions.tuned, at = asked.findIndex(({ model }) => model === "tuned");
    assert.deepEqual(without(await ask({ model: "later", question })), without(first[at]));
    const of = (model: Model) => first.filter((_, i) => asked[i].model === model);
    assert.notDeepEqual(of("tuned")[2].tokens, of("smollm2-135m")[2].tokens, "the adapter changes something");
    return { "smollm2-135m": of("smollm2-135m"), tuned: of("tuned") };
  } finally {
    await server.stop();
  }
}

/** What `ftl run` prints. */
async function fromRun(model: Model, question: string, adapter: string): Promise<string> {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const what = model === "tuned" ? ["--adapter", adapter] : [];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", main, "run", "smollm2-135m", question, ...what],
      ...["--engine", "onnx", "--max-new-tokens", String(count)],
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim();
}

function promptIds(source: ModelSource, tokenizer: Tokenizer, question: string): number[] {
  const messages = [{ role: "user", content: question }];
  return tokenizer.encode(renderChat(source.chatTemplate!, { messages, addGenerationPrompt: true, source: "" }));
}

interface Asked {
  parameters: Parameter[];
  prompts(model: Model): number[][];
  answers: Record<Model, Answer[]>;
  tokenizer: Tokenizer;
}

/**
 * The ids of the answers, once training's forward over prompt and answer (weights in 4 bits, as it trains) says that each
 * is the likeliest after those before it.
 */
async function likeliest(
  source: ModelSource,
  { parameters, prompts, answers, tokenizer }: Asked,
): Promise<Record<Model, number[][]>> {
  const { config } = source, executor = createOnnxExecutor();
  const weights = loadWeights(source, executor, { linear: "nf4" });
  const base: Generator = { executor, config, weights };
  const adapter = await attachAdapter(parameters, { ...base, settings });
  const result: Record<Model, number[][]> = { "smollm2-135m": [], tuned: [] };
  for (const model of models) {
    const generator = model === "tuned" ? { ...base, adapter } : base;
    for (const [i, prompt] of prompts(model).entries()) {
      const { tokens, finish, text } = answers[model][i], own: number[] = [];
      // The answer's own ids, one after the other: the likeliest is the one that was said.
      const said = tokenizer.encode(text);
      const end = finish === "stop" ? [tokenizer.eosIds[0]] : [];
      const rows = await forward(generator, prompt, [...said, ...end]);
      for (const [at, { best, lead }] of rows.entries()) {
        assert.ok(lead > margin, `${model}, ${questions[model][i]}, token ${at}: the best two are ${lead} apart`);
        own.push(best);
      }
      const spoken = finish === "stop" ? own.slice(0, -1) : own;
      assert.deepEqual(spoken.map((id) => new TextDecoder().decode(tokenizer.bytesOf(id))), tokens);
      if (finish === "stop") assert.ok(tokenizer.eosIds.includes(own.at(-1)!));
      result[model].push(own);
    }
  }
  await executor.dispose();
  return result;
}

/** The likeliest token at each of the answer's places, and how far its logit is ahead of the next. */
async function forward(
  { executor, config, weights, adapter }: Generator,
  prompt: number[],
  answer: number[],
): Promise<{ best: number; lead: number }[]> {
  const tokens = Int32Array.from([...prompt, ...answer]);
  const batch = makeBatch([{ tokens, targets: new Uint8Array(tokens.length) }]);
  const values = batchValues(executor, batch, config), V = config.vocabSize;
  const ids = executor.tensor(batch.tokens, [tokens.length]);
  let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens: ids });
  const segment = layerSegment({ config, loraScale: adapter?.scale ?? 0 });
  for (const [l, layer] of weights.layers.entries()) {
    const { y, ...kept } = await executor.run(segment, { ...layer, ...adapter?.layers[l], ...values.full, x });
    executor.release(x, ...Object.values(kept));
    x = y;
  }
  const places = Int32Array.from(answer, (_, i) => prompt.length - 1 + i);
  const index = executor.tensor(places, [places.length]), { norm, lm_head } = weights;
  const { logits } = await executor.run(logitsSegment(config), { x, index, norm, lm_head });
  const all = await executor.read(logits);
  executor.release(x, index, logits, ids);
  releaseBatch(executor, values);
  return answer.map((_, i) => {
    const row = all.subarray(i * V, (i + 1) * V);
    let best = 0, second = -Infinity;
    row.forEach((logit, id) => {
      if (logit > row[best]) [second, best] = [row[best], id];
      else if (id !== best && logit > second) second = logit;
    });
    return { best, lead: row[best] - second };
  });
}

/** The model with the numbers that 4 bits leave of its weights: those that the server and training compute with. */
function asQuantised(source: ModelSource): ModelSource {
  const linear = new Set(source.tensors.filter(({ role }) => role === "linear").map(({ name }) => name));
  return {
    ...source,
    float32(name) {
      const x = source.float32(name);
      if (!linear.has(name)) return x;
      const { packed, absmax } = quantizeNf4(x, { name });
      return dequantizeNf4(packed, recoverAbsmax(quantizeAbsmax(absmax)), x.length);
    },
  };
}
