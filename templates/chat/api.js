/** The server, and what can go wrong with it: every failure is a ServerTrouble of a kind that the page knows how to meet. */

/**
 * away: nothing answers; cut: the answer broke off; key: a key is wanted; busy: later; context: too long; refused: the
 * rest, in the server's words.
 */
export class ServerTrouble extends Error {
  constructor(kind, message, retryAfter = null) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const headers = (key) => key ? { authorization: `Bearer ${key}` } : {};

/** { version, contextLength, defaultSystem, models } */
export async function fetchInfo(key) {
  const response = await reach("/ftl/info", {
    headers: headers(key),
    cache: "no-store",
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok) throw await troubleOf(response);
  try {
    return await response.json();
  } catch {
    throw new ServerTrouble("away", "Something else than ftl answers at this address.");
  }
}

async function reach(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted && init.signal.reason?.name !== "TimeoutError") throw error;
    throw new ServerTrouble("away", "The server does not answer.");
  }
}

async function troubleOf(response) {
  const { status } = response;
  const body = await response.text().catch(() => "");
  let error = null;
  try {
    error = JSON.parse(body).error;
  } catch { /* Not every failure is JSON: a proxy's are not. */ }
  const message = (typeof error === "string" ? error : error?.message) ||
    `The server answered ${status} ${response.statusText}`.trim();
  if (status === 401) return new ServerTrouble("key", message);
  if (status === 429 || status === 503) {
    return new ServerTrouble("busy", message, secondsOf(response.headers.get("retry-after")));
  }
  if (status === 502 || status === 504) return new ServerTrouble("away", "The server does not answer.");
  if (error?.code === "context_length_exceeded" || error?.type === "exceed_context_size_error" || status === 413) {
    return new ServerTrouble("context", message);
  }
  return new ServerTrouble("refused", message);
}

/** "5" or a date -> seconds from now */
function secondsOf(value) {
  if (!value) return null;
  const seconds = /^\d+(\.\d+)?$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(0, seconds), 3600) : null;
}

/** Yields { text }, { reasoning }, { finish } and { usage } as they arrive. */
export async function* streamAnswer(request, key, signal) {
  const response = await reach("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...headers(key) },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) throw await troubleOf(response);
  let finished = false;
  for await (const data of readEvents(response.body, signal)) {
    if (data === "[DONE]") {
      finished = true;
      break;
    }
    const chunk = parseChunk(data);
    if (chunk.error) {
      const message = typeof chunk.error === "string"
        ? chunk.error
        : chunk.error.message ?? "The server reported an error.";
      throw new ServerTrouble(chunk.error.code === "context_length_exceeded" ? "context" : "refused", message);
    }
    const choice = chunk.choices?.[0];
    const reasoning = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
    if (reasoning) yield { reasoning };
    if (choice?.delta?.content) yield { text: choice.delta.content };
    if (choice?.finish_reason) {
      finished = true;
      yield { finish: choice.finish_reason };
    }
    if (chunk.usage) yield { usage: chunk.usage };
  }
  if (!finished) throw new ServerTrouble("cut", "The connection broke off during this answer.");
}

function parseChunk(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ServerTrouble("cut", "The server sent something that cannot be read.");
  }
}

/** The data of each server-sent event. */
async function* readEvents(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reader.read().catch((error) => {
        if (signal.aborted) throw error;
        throw new ServerTrouble("cut", "The connection broke off during this answer.");
      });
      if (done) return;
      rest += value;
      // A carriage return may stand at the end of one read and its line feed at the start of the next.
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop();
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) =>
          line.slice(5).replace(/^ /, "")
        );
        if (data.length > 0) yield data.join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
