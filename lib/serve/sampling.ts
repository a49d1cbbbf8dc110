/** A request's fields as the engine's numbers, with OpenAI's defaults. */
import { ApiError } from "./api_error.ts";
import type { TokenRequest } from "./engine.ts";
import type { SamplingRequest } from "./schema.ts";
import type { Service } from "./service.ts";

export type Sampling = Pick<
  TokenRequest,
  | "temperature"
  | "topP"
  | "topK"
  | "minP"
  | "presencePenalty"
  | "frequencyPenalty"
  | "repetitionPenalty"
  | "logitBias"
  | "seed"
>;

/** Errors: ApiError for a bias on a token that does not exist. */
export function samplingOf(request: SamplingRequest, vocabSize: number): Sampling {
  const logitBias = new Map<number, number>();
  for (const [key, bias] of Object.entries(request.logit_bias ?? {})) {
    const id = Number(key);
    if (id >= vocabSize) {
      throw new ApiError(400, `logit_bias: there is no token ${id}; the vocabulary has ${vocabSize}`, {
        param: "logit_bias",
        code: "invalid_value",
      });
    }
    logitBias.set(id, bias);
  }
  return {
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? 1,
    topK: Math.max(0, request.top_k ?? 0),
    minP: request.min_p ?? 0,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    repetitionPenalty: request.repetition_penalty ?? request.repeat_penalty ?? 1,
    logitBias,
    seed: request.seed === null || request.seed === undefined ? randomSeed() : foldSeed(request.seed),
  };
}

/** A prompt, and where its answer ends: with the model's ends, or after so many tokens, null: as many as there is room for. */
export function promptAndEnd(
  { engine, tokenizer }: Pick<Service, "engine" | "tokenizer">,
  tokens: Int32Array,
  most: number | null,
): Pick<TokenRequest, "tokens" | "maxTokens" | "stopIds"> {
  const room = engine.contextLength - tokens.length;
  return { tokens, maxTokens: Math.min(most ?? room, room), stopIds: new Set(tokenizer.eosIds) };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Any whole number as 32 bits: small ones stay as they are. */
function foldSeed(seed: number): number {
  const high = Math.floor(seed / 2 ** 32);
  return (seed ^ (high > 0 || high < -1 ? high : 0)) >>> 0;
}

/** The stop strings of a request. */
export function stopsOf(stop: string | string[] | null | undefined): string[] {
  return [stop ?? []].flat().filter((text) => text !== "");
}
