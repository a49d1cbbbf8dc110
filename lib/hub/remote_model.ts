/**
 * A remote model as something to be asked: tries again what may work later, waits as long as the server says, sends no
 * more requests a minute than it may, and gives a model up that has failed for good. Waiting times are a function of seed,
 * question and attempt, so that a run can be repeated.
 */
import { createHash } from "node:crypto";
import { chat, type ChatEndpoint, type ChatReply, type ChatRequest } from "./chat_client.ts";
import { ChatFailure } from "./chat_failure.ts";
import { pause } from "./pause.ts";

export interface RemoteOptions {
  endpoint: ChatEndpoint;
  /** Attempts after the first. */
  retries: number;
  /** Milliseconds that one attempt may take. */
  timeout: number;
  /** Requests a minute; 0: as many as come. */
  perMinute: number;
  seed: number;
  /** First waiting time in milliseconds, doubled with every further one. Default 1000. */
  firstWait?: number;
  /** Told before waiting. */
  onWait?: (failure: ChatFailure, milliseconds: number) => void;
}

export interface RemoteModel {
  /**
   * The reply. Throws ChatFailure; after one of scope "model", or several questions in a row that failed for other
   * reasons, every further question fails at once in the same words. Throws what `signal` was aborted with.
   */
  ask(request: ChatRequest, signal?: AbortSignal): Promise<ChatReply>;
}

/** Longest wait that a server may ask for, and questions in a row that may fail. */
const longestWait = 120_000, mostFailures = 3;

export function makeRemoteModel(options: RemoteOptions): RemoteModel {
  const { endpoint, retries, timeout, perMinute, seed, firstWait = 1000, onWait } = options;
  const leftOut = new Set<string>();
  let nextTurn = 0, failures = 0, final: ChatFailure | undefined;

  /** Waits for this request's turn. */
  async function turn(signal?: AbortSignal): Promise<void> {
    const now = performance.now(), at = Math.max(now, nextTurn);
    nextTurn = at + (perMinute > 0 ? 60_000 / perMinute : 0);
    await pause(at - now, signal);
  }

  async function tried(request: ChatRequest, signal?: AbortSignal): Promise<ChatReply> {
    for (let n = 0;; n++) {
      await turn(signal);
      if (final) throw final;
      try {
        return await chat(endpoint, request, { timeout, signal, leftOut });
      } catch (error) {
        if (!(error instanceof ChatFailure) || error.scope !== "again") throw error;
        if (n >= retries) {
          const tries = n === 0 ? "" : `, ${n + 1} times`;
          throw new ChatFailure(error.message + tries, { scope: "question", status: error.status, cause: error });
        }
        const wait = error.retryAfter ?? firstWait * 2 ** n * (0.5 + 0.5 * jitter(seed, request, n));
        if (wait > longestWait) {
          const seconds = Math.ceil(wait / 1000);
          throw new ChatFailure(`${error.message}; it wants to be left alone for ${seconds} s`, { scope: "model" });
        }
        // What the server asked for holds for every question to it.
        if (error.retryAfter !== undefined) nextTurn = Math.max(nextTurn, performance.now() + wait);
        onWait?.(error, wait);
        await pause(wait, signal);
      }
    }
  }

  return {
    async ask(request, signal) {
      if (final) throw final;
      try {
        const reply = await tried(request, signal);
        failures = 0;
        return reply;
      } catch (error) {
        if (!(error instanceof ChatFailure)) throw error;
        if (error.scope === "model") final = error;
        // A refused question says nothing of the others, a server that is down does.
        else if (error.cause instanceof ChatFailure && ++failures >= mostFailures) {
          final = new ChatFailure(`${error.message}; given up after ${failures} questions in a row`, {
            scope: "model",
          });
        }
        throw error;
      }
    },
  };
}

/** In [0, 1), from seed, question and attempt. */
function jitter(seed: number, request: ChatRequest, attempt: number): number {
  const hash = createHash("sha256").update(JSON.stringify([seed, request.messages, attempt])).digest();
  return hash.readUInt32BE(0) / 2 ** 32;
}
