/** POST /v1/completions: text goes on as it is, without a chat template. */
import { type LogprobEntry, mergeAnswers, startAnswer, type TextEvent } from "./answer.ts";
import { ApiError, contextError } from "./api_error.ts";
import { readBody } from "./body.ts";
import { headOf, usageOf } from "./chat_task.ts";
import { promptTokens } from "./prompt.ts";
import { promptAndEnd, samplingOf, stopsOf } from "./sampling.ts";
import { type CompletionRequest, completionRequest } from "./schema.ts";
import { checkPlaces, findModel, type Service } from "./service.ts";
import { leaving, sseEvent, streamResponse, wholeResponse } from "./sse.ts";

export async function completions(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, completionRequest, service);
  refuseWhatIsMissing(body);
  const model = findModel(service, body.model);
  const prompts = await tokensOf(service, body.prompt, "prompt");
  const sampling = samplingOf(body, service.tokenizer.vocabSize);
  const n = body.n ?? 1, limit = body.max_tokens ?? -1;
  checkPlaces(service, n * prompts.length, n > 1 ? "n" : "prompt");
  const leave = leaving(request, service.stopping);
  try {
    const answers = prompts.flatMap((tokens) =>
      Array.from({ length: n }, (_, i) =>
        startAnswer(service, {
          ...sampling,
          ...promptAndEnd(service, tokens, limit < 0 ? null : limit),
          model: model.id,
          seed: (sampling.seed + i) >>> 0,
          logprobs: body.logprobs ?? undefined,
          signal: leave.signal,
        }, { stops: stopsOf(body.stop) }))
    );
    const options = {
      head: { ...headOf(service, model, "cmpl-"), object: "text_completion" },
      prompt: prompts.reduce((sum, tokens) => sum + tokens.length, 0),
      echoes: body.echo ? prompts.flatMap((ids) => Array(n).fill(service.tokenizer.decode(ids))) : null,
      wantsLogprobs: typeof body.logprobs === "number",
    };
    if (body.stream) {
      const includeUsage = body.stream_options?.include_usage ?? false;
      return streamResponse(chunks(answers, { ...options, includeUsage }), { ...service, leave });
    }
    return wholeResponse(await collect(answers, options), leave);
  } catch (error) {
    leave.abort();
    throw error;
  }
}

function refuseWhatIsMissing(body: CompletionRequest): void {
  if (body.suffix) throw new ApiError(400, "suffix: this server does not fill gaps", { param: "suffix" });
  if (body.echo && typeof body.logprobs === "number") {
    throw new ApiError(400, "echo: not together with logprobs", { param: "echo" });
  }
  if (body.stream_options && !body.stream) {
    throw new ApiError(400, "stream_options: only allowed with stream", { param: "stream_options" });
  }
}

/** Texts or ids as ids, each shorter than the context. */
export async function tokensOf(
  { tokenizer, engine: { contextLength } }: Service,
  given: string | string[] | number[] | number[][],
  param: string,
): Promise<Int32Array[]> {
  const list = typeof given === "string" || typeof given[0] === "number" ? [given as string | number[]] : given;
  const prompts: Int32Array[] = [];
  for (const each of list as (string | number[])[]) {
    if (typeof each === "string") {
      const ids = await promptTokens(each, { tokenizer, contextLength, param });
      // An empty text begins as every text does.
      const start = tokenizer.bosId ?? tokenizer.eosIds[0];
      if (ids.length === 0 && start === undefined) throw new ApiError(400, `${param}: the text is empty`, { param });
      prompts.push(ids.length > 0 ? ids : Int32Array.of(start));
      continue;
    }
    const wrong = each.find((id) => id >= tokenizer.vocabSize);
    if (wrong !== undefined) {
      throw new ApiError(400, `${param}: there is no token ${wrong}; the vocabulary has ${tokenizer.vocabSize}`, {
        param,
      });
    }
    if (each.length >= contextLength) throw contextError({ tokens: each.length, contextLength, param });
    prompts.push(Int32Array.from(each));
  }
  return prompts;
}

interface Options {
  head: object;
  prompt: number;
  /** Texts of the prompts, to stand before their answers. */
  echoes: string[] | null;
  wantsLogprobs: boolean;
}

async function collect(answers: AsyncGenerator<TextEvent>[], { head, prompt, echoes, wantsLogprobs }: Options) {
  const choices = answers.map((_, i) => ({ text: echoes?.[i] ?? "", entries: [] as LogprobEntry[], finish: "stop" }));
  let tokens = 0, cached = 0;
  for await (const { index, event } of mergeAnswers(answers)) {
    const choice = choices[index];
    choice.entries.push(...event.logprobs);
    if (event.kind === "text") choice.text += event.text;
    else {
      choice.finish = event.finish;
      tokens += event.tokens;
      cached = Math.max(cached, event.cachedTokens);
    }
  }
  return {
    ...head,
    choices: choices.map(({ text, entries, finish }, index) => ({
      index,
      text,
      logprobs: wantsLogprobs ? writeLogprobs(entries, 0) : null,
      finish_reason: finish,
    })),
    usage: usageOf({ prompt, answer: tokens, cached }),
  };
}

async function* chunks(
  answers: AsyncGenerator<TextEvent>[],
  { head, prompt, echoes, wantsLogprobs, includeUsage }: Options & { includeUsage: boolean },
): AsyncGenerator<string> {
  const chunk = (choices: unknown[], more: object = {}) =>
    sseEvent({ ...head, choices, ...(includeUsage ? { usage: null } : {}), ...more });
  const offsets = answers.map(() => 0);
  for (const [index, text] of (echoes ?? []).entries()) {
    yield chunk([{ index, text, logprobs: null, finish_reason: null }]);
  }
  let tokens = 0, cached = 0;
  for await (const { index, event } of mergeAnswers(answers)) {
    const logprobs = wantsLogprobs && event.logprobs.length > 0 ? writeLogprobs(event.logprobs, offsets[index]) : null;
    if (event.kind === "text") {
      offsets[index] += event.text.length;
      yield chunk([{ index, text: event.text, logprobs, finish_reason: null }]);
    } else {
      tokens += event.tokens;
      cached = Math.max(cached, event.cachedTokens);
      yield chunk([{ index, text: "", logprobs, finish_reason: event.finish }]);
    }
  }
  if (includeUsage) yield chunk([], { usage: usageOf({ prompt, answer: tokens, cached }) });
  yield sseEvent("[DONE]");
}

/** The older form: parallel lists. */
function writeLogprobs(entries: LogprobEntry[], start: number) {
  let offset = start;
  return {
    tokens: entries.map(({ token }) => token),
    token_logprobs: entries.map(({ logprob }) => logprob),
    top_logprobs: entries.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: entries.map(({ token }) => (offset += token.length) - token.length),
  };
}
