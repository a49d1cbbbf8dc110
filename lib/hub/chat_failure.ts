/**
 * Why a remote model did not answer: one line for a person, and what to do next. What servers say about it is shortened,
 * and nothing that looks like a key gets through, since some repeat the key that they refuse.
 */

/** again: the same may work later. question: this question will fail again. model: every question will. */
export type FailureScope = "again" | "question" | "model";

export class ChatFailure extends Error {
  readonly scope: FailureScope;
  /** How long the server wants to be left alone, in milliseconds. */
  readonly retryAfter?: number;
  /** HTTP status, where there was one. */
  readonly status?: number;
  /** The field of the request that the server refuses. */
  readonly field?: string;

  constructor(
    message: string,
    options: { scope: FailureScope; retryAfter?: number; status?: number; field?: string; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.name = "ChatFailure";
    ({ scope: this.scope, retryAfter: this.retryAfter, status: this.status, field: this.field } = options);
  }
}

/** A line of at most 300 characters without the key, and without what looks like one. */
export function withoutSecrets(text: string, key: string | null): string {
  const hidden = key === null || key === "" ? text : text.replaceAll(key, "[key]");
  return hidden.replace(/\b(sk|pk|key|api)[-_][\w*.\-]{6,}/gi, "[key]").replace(/\bBearer\s+\S+/gi, "[key]")
    .replace(/\s+/g, " ").trim().slice(0, 300);
}

/** What a response with an error status means. `body` is what the server wrote. */
export function failureOfStatus(response: Response, body: string, key: string | null): ChatFailure {
  const { status } = response, { said, field } = readErrorBody(body);
  const what = withoutSecrets(said, key);
  const line = (meaning: string) => `${status}, ${meaning}${what === "" ? "" : `: ${what}`}`;
  if (status >= 300 && status < 400) {
    return new ChatFailure(line("it redirects elsewhere; name the address itself"), { scope: "model", status });
  }
  if (status === 401) return new ChatFailure(line("the key is missing or wrong"), { scope: "model", status });
  if (status === 402) return new ChatFailure(line("the account has no money left"), { scope: "model", status });
  if (status === 403) return new ChatFailure(line("the key may not do this"), { scope: "model", status });
  if (status === 404 || status === 405) {
    return new ChatFailure(line("no such model, or no OpenAI API at this address"), { scope: "model", status });
  }
  // OpenAI answers an empty account with 429, which waiting does not cure.
  if (status === 429 && /insufficient_quota/.test(body)) {
    return new ChatFailure(line("the quota is used up"), { scope: "model", status });
  }
  if (status === 429 || status === 408 || status === 425 || status >= 500) {
    const meaning = status === 429 ? "too many requests" : status >= 500 ? "the server failed" : "try again";
    return new ChatFailure(line(meaning), { scope: "again", status, retryAfter: retryAfterOf(response.headers) });
  }
  return new ChatFailure(line("the request is refused"), { scope: "question", status, field });
}

/** The message and the field of OpenAI's error form; of other text its beginning, of a page of HTML nothing. */
export function readErrorBody(body: string): { said: string; field?: string } {
  try {
    const { error } = JSON.parse(body);
    const said = typeof error === "string" ? error : error?.message;
    if (typeof said === "string") {
      const named = typeof error.param === "string" ? error.param : undefined;
      return { said, field: named };
    }
  } catch {
    // Not JSON.
  }
  return { said: /^\s*</.test(body) ? "" : body };
}

/** Retry-After in milliseconds: seconds or a date (RFC 9110, 10.2.3); OpenAI's retry-after-ms is finer. */
function retryAfterOf(headers: Headers): number | undefined {
  const fine = Number(headers.get("retry-after-ms") ?? NaN);
  if (Number.isFinite(fine) && fine >= 0) return fine;
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  if (/^\s*\d+(\.\d+)?\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
