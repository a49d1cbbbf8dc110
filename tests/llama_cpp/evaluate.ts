/**
 * One question to real llama.cpp (npm node-llama-cpp, CPU binary): JSON on stdin, JSON on stdout, logs on stderr.
 * Run by tests/helpers/llama_cpp.ts as a process of its own, so that a crash of the native code fails one test only.
 * The package is not among the project's dependencies: it is imported from the folder beside this file.
 */
import type { LlamaCppAnswer, LlamaCppRequest } from "../helpers/llama_cpp.ts";

// deno-lint-ignore no-explicit-any
type Untyped = any;

const { getLlama, LlamaLogLevel }: Untyped = await import(
  new URL("node_modules/node-llama-cpp/dist/index.js", import.meta.url).href
);

const request: LlamaCppRequest = JSON.parse(
  await new Response(Deno.stdin.readable).text(),
);
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  progressLogs: false,
  maxThreads: 1,
  logLevel: LlamaLogLevel.warn,
  logger: (_level: unknown, message: string) => console.error(message),
});
const model = await llama.loadModel({ modelPath: request.gguf, vocabOnly: request.vocabOnly ?? false });

const answer: LlamaCppAnswer = {
  bos: model.tokens.bos,
  eos: model.tokens.eos,
  addsBos: model.tokens.shouldPrependBosToken,
  endTokens: (request.endTokens ?? []).map((id) => model.isEogToken(id)),
  tokenize: (request.tokenize ?? []).map((
    text,
  ) => [...model.tokenize(text, request.parseSpecial ?? false)]),
  greedy: [],
  logits: [],
  losses: [],
};

if (request.greedy || request.logits || request.losses) {
  const context = await model.createContext({
    contextSize: request.contextSize ?? 512,
    threads: 1, // More would wait for each other by spinning, which on a busy machine takes minutes.
    flashAttention: false,
    swaFullCache: true,
    // The default cache is F16; F32 where logits are compared with an exact reference.
    ...(request.exact
      ? {
        experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32",
      }
      : {}),
    ...(request.lora ? { lora: { adapters: [{ filePath: request.lora }] } } : {}),
  });
  const sequence = context.getSequence();
  for (const { tokens, count } of request.greedy ?? []) {
    await sequence.clearHistory();
    const produced: number[] = [];
    let input = tokens;
    while (produced.length < count) {
      const items = input.map((id, i) => i === input.length - 1 ? [id, { generateNext: { token: true } }] : id);
      const results = await sequence.controlledEvaluate(items);
      const next = results.at(-1)?.next.token;
      if (next === undefined || next === null) break;
      produced.push(next);
      input = [next];
    }
    answer.greedy.push(produced);
  }
  for (const { tokens, positions } of request.logits ?? []) {
    await sequence.clearHistory();
    const wanted = new Set(positions ?? [tokens.length - 1]);
    const items = tokens.map((id, i) => wanted.has(i) ? [id, { generateNext: { logits: true } }] : id);
    const results = await sequence.controlledEvaluate(items);
    answer.logits.push(
      [...wanted].map((i) => base64OfLogits(results[i].next.logits)),
    );
  }
  for (const tokens of request.losses ?? []) {
    await sequence.clearHistory();
    const items = tokens.map((id, i) => i < tokens.length - 1 ? [id, { generateNext: { logits: true } }] : id);
    const results = await sequence.controlledEvaluate(items);
    const losses = tokens.slice(1).map((next, i) => lossOf(results[i].next.logits, next));
    answer.losses.push(losses.reduce((sum, loss) => sum + loss, 0) / losses.length);
  }
}
await new Response(JSON.stringify(answer) + "\n").body!.pipeTo(
  Deno.stdout.writable,
);
Deno.exit(0);

/** -log p(next), in nats. */
function lossOf(logits: Map<number, number>, next: number): number {
  let largest = -Infinity, sum = 0;
  for (const logit of logits.values()) largest = Math.max(largest, logit);
  for (const logit of logits.values()) sum += Math.exp(logit - largest);
  return Math.log(sum) + largest - logits.get(next)!;
}

/** Map of token id to logit -> f32 little-endian by id, base64. */
function base64OfLogits(logits: Map<number, number>): string {
  const values = new Float32Array(logits.size).fill(NaN);
  for (const [id, logit] of logits) values[id] = logit;
  return new Uint8Array(values.buffer).toBase64();
}
