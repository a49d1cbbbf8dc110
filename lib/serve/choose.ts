/**
 * The next token of a request from its logits: what is asked of it beyond lib/model/sample.ts, in this order. The
 * repetition penalty on tokens of prompt and answer, presence and frequency penalties on those of the answer (OpenAI's
 * formula), added biases, and a grammar's mask. Logarithms of probabilities are the model's own, before all of this.
 */
import { penalizeRepetition, sampleToken } from "../model/sample.ts";
import type { Executor, SampleOptions } from "../ops.ts";
import type { TokenEvent, TokenRequest } from "./engine.ts";

export interface Progress {
  request: TokenRequest;
  /** The prompt and the answer so far. */
  tokens: number[];
}

/** The token and what is told of it. `logits` [V] are changed. */
export function chooseToken(logits: Float32Array, { request, tokens }: Progress): TokenEvent {
  const { temperature, topP, topK, minP, seed, logprobs } = request, prompt = request.tokens.length;
  const said = logprobs === undefined ? undefined : logProbabilities(logits, logprobs);
  penalizeRepetition(logits, tokens, request.repetitionPenalty);
  penalizeAnswer(logits, tokens.slice(prompt), request);
  for (const [token, bias] of request.logitBias) if (token < logits.length) logits[token] += bias;
  applyConstraint(logits, request);
  const sampling = { temperature, top_p: topP, top_k: topK, min_p: minP, seed };
  const token = sampleToken(logits, { ...sampling, history: [], row: 0, step: tokens.length - prompt });
  return said ? { token, logprob: said.of(token), top: said.top } : { token };
}

function penalizeAnswer(
  logits: Float32Array,
  answer: number[],
  { presencePenalty, frequencyPenalty }: Pick<TokenRequest, "presencePenalty" | "frequencyPenalty">,
): void {
  if (presencePenalty === 0 && frequencyPenalty === 0) return;
  for (const token of new Set(answer)) logits[token] -= presencePenalty;
  for (const token of answer) logits[token] -= frequencyPenalty;
}

/** Forbids what the grammar does, and the answer's end until it may end there. */
function applyConstraint(logits: Float32Array, { constraint, stopIds }: TokenRequest): void {
  const allowed = constraint?.allowed();
  if (!constraint || !allowed) return;
  const done = constraint.done();
  let left = false;
  for (let v = 0; v < logits.length; v++) {
    const may = stopIds.has(v) ? done : (allowed[v >> 5] >>> (v & 31) & 1) === 1;
    if (may) left = true;
    else logits[v] = -Infinity;
  }
  if (!left) throw new Error("The grammar allows no token here");
}

/** Natural logarithms of softmax(logits): the `count` largest, and any. */
function logProbabilities(logits: Float32Array, count: number) {
  let top = -Infinity, sum = 0;
  for (const logit of logits) if (logit > top) top = logit;
  for (const logit of logits) sum += Math.exp(logit - top);
  const shift = top + Math.log(sum), best: { token: number; logprob: number }[] = [];
  for (let token = 0; count > 0 && token < logits.length; token++) {
    const logprob = logits[token] - shift;
    if (best.length === count && !(logprob > best[count - 1].logprob)) continue;
    const place = best.findIndex((other) => logprob > other.logprob);
    best.splice(place < 0 ? best.length : place, 0, { token, logprob });
    if (best.length > count) best.pop();
  }
  // Read now: the logits are about to change.
  const all = Float32Array.from(logits);
  return { top: best, of: (token: number) => all[token] - shift };
}

/** What an executor needs to choose the tokens of these requests by itself; undefined where it cannot. */
export function deviceChoice(executor: Executor, all: Progress[]): SampleOptions[] | undefined {
  const plain = ({ request }: Progress) =>
    request.presencePenalty === 0 && request.frequencyPenalty === 0 && request.repetitionPenalty === 1 &&
    request.logitBias.size === 0 && request.logprobs === undefined && !request.constraint;
  if (!executor.chooseTokens || !all.every(plain)) return undefined;
  return all.map(({ request: { temperature, topK, topP, minP, seed, tokens: prompt }, tokens }) => ({
    ...{ temperature, top_k: topK, top_p: topP, min_p: minP, seed, row: 0, step: tokens.length - prompt.length },
  }));
}

/** Milliseconds that a turn waits for grammars: less than missing the next turn would cost. */
const patience = 20;

/** Resolves when the grammars of all these are ready, or soon. */
export async function grammarsSoonReady(all: Progress[]): Promise<void> {
  const waits = all.flatMap(({ request }) => request.constraint?.ready() ?? []);
  if (waits.length === 0) return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, patience));
  await Promise.race([Promise.all(waits), late]);
  clearTimeout(timer);
}
