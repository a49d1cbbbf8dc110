/**
 * The engine: requests for tokens, answered together on one model and its adapters. One loop does all the work, a turn of
 * the scheduler at a time, so that requests join and leave between two tokens; what else needs the model (embeddings,
 * adapters that come and go) stands in between.
 */
import { setImmediate } from "node:timers";
import { type Generator, makeDecoder } from "../model/decode.ts";
import { makeKvCache } from "../model/kv_cache.ts";
import type { Value } from "../ops.ts";
import { type Answering, makeRegister, readAdapter, releaseAdapter } from "./adapters.ts";
import { chooseToken, deviceChoice, grammarsSoonReady } from "./choose.ts";
import { embedPrompt } from "./embed.ts";
import { type Engine, EngineStopped, QueueFull, type TokenEvent, type TokenRequest } from "./engine.ts";
import { type Job, makeScheduler, type Turn } from "./scheduler.ts";
import { type PushedStream, pushedStream } from "./stream.ts";

export interface EngineOptions {
  /** The base model: executor, configuration and weights stay the caller's. */
  base: Generator;
  id: string;
  aliases?: string[];
  created?: number;
  /** Requests that are answered at once, and the length that each may reach: planCache says what fits. */
  slots: number;
  contextLength: number;
  /** Requests that may wait; default 64. */
  queue?: number;
  /** Tokens of a prompt that are read in one go while others are answered, and while none is; defaults 64 and 256. */
  chunk?: number;
  chunkAlone?: number;
}

interface Request extends Job {
  model: Answering;
  request: TokenRequest;
  output: PushedStream;
  /** Milliseconds, of the process. */
  begun: number;
  ended: boolean;
  /** Ends it, whatever it was doing; its slot is free at once. */
  end(error?: unknown): void;
}

export function makeEngine(options: EngineOptions): Engine {
  const { base, slots, contextLength, queue = 64, chunk = 64, chunkAlone = 256 } = options;
  const { executor, config } = base;
  const cache = makeKvCache(executor, { ...config, slots, length: contextLength });
  const answering = (about: Answering["about"], generator: Generator): Answering => (
    { about, generator, decode: makeDecoder(generator, cache) }
  );
  const models = makeRegister(
    answering({ id: options.id, aliases: options.aliases ?? [], created: options.created ?? 0 }, base),
  );
  const scheduler = makeScheduler<Request>({
    slots,
    queue,
    chunk: Math.max(2, chunk),
    chunkAlone: Math.max(2, chunkAlone),
  });
  const counts = { promptTokens: 0, cachedTokens: 0, answerTokens: 0 };
  /** Work between turns. */
  const tasks: (() => Promise<void>)[] = [];
  /** Woken when a request ends. */
  const onEnd: (() => void)[] = [];
  let stopped: EngineStopped | undefined, freed = false, loop: Promise<void> | undefined;
  /** Answers that wait for their grammars, and what wakes a loop that has nothing else to do. */
  let held = 0, rouse: (() => void) | undefined;
  /** Seconds that a request takes, lately. */
  let usual = 1;

  function wake(): void {
    rouse?.();
    loop ??= work().finally(() => {
      loop = undefined;
      // What came after the loop's last look.
      if (tasks.length > 0 || scheduler.running().length + scheduler.waiting().length > 0) wake();
    });
  }

  /** Never throws: an error belongs to the requests or the task that it meets. */
  async function work(): Promise<void> {
    while (true) {
      await tasks.shift()?.();
      for (const job of scheduler.admit()) {
        job.output.stream.cachedTokens = job.stored;
        counts.promptTokens += job.tokens.length;
        counts.cachedTokens += job.stored;
      }
      const turn = scheduler.next();
      if (turn) await run(turn);
      else if (tasks.length === 0) {
        if (held === 0) return;
        await new Promise<void>((resolve) => rouse = resolve);
      }
      // Signals and readers have their turn too, also where the executor never waits for anything.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async function run(turn: Turn<Request>): Promise<void> {
    const { decode } = turn.model as Answering, { pieces } = turn;
    const tokens = pieces.flatMap(({ job, start, count }) => job.tokens.slice(start, start + count));
    // A turn is one piece of a prompt, or the last tokens of several requests: all want what follows, or none.
    const complete = pieces.every(({ job, start, count }) => start + count === job.tokens.length);
    try {
      const places = pieces.map(({ slot, start, count }) => ({ slot, start, count }));
      let logits = await decode(Int32Array.from(tokens), places, { logits: complete });
      scheduler.done(turn);
      while (logits) logits = await answer(turn, logits);
    } catch (error) {
      // The executor's own failure: its memory may hold anything now, or the device is gone.
      stopped ??= new EngineStopped("The engine has failed", { cause: error });
      for (const { job } of pieces) job.end(error);
      for (const job of [...scheduler.waiting(), ...scheduler.running()]) job.end(stopped);
      scheduler.forget();
    }
  }

  /** An answer whose grammar takes longer than its turn goes on when that is ready, and holds up nobody. */
  function hold(job: Request, { ready, logits }: { ready: Promise<void>; logits: Float32Array }): void {
    held++;
    ready.then(() => {
      held--;
      take(job, () => chooseToken(logits, job));
      wake();
    });
  }

  /**
   * Adds a token to the answer of every piece. Where the device chooses them and all go on, their next pass is on its way
   * before anybody has seen them: then what follows it. Where an answer ends with this token its part was in vain.
   */
  async function answer({ model, pieces }: Turn<Request>, logits: Value): Promise<Value | undefined> {
    const jobs = pieces.map(({ job }) => job), choice = deviceChoice(executor, jobs);
    if (!choice) {
      const all = await executor.read(logits), V = config.vocabSize;
      await grammarsSoonReady(jobs);
      jobs.forEach((job, row) => {
        const own = all.subarray(row * V, (row + 1) * V), ready = job.request.constraint?.ready();
        if (ready) hold(job, { ready, logits: own.slice() });
        else take(job, () => chooseToken(own, job));
      });
      executor.release(logits);
      return undefined;
    }
    const { tokens, numbers } = executor.chooseTokens!(logits, choice);
    const next = jobs.map((job, i) => ({ job, slot: pieces[i].slot, start: job.tokens.length, count: 1 }));
    const alone = tasks.length + scheduler.waiting().length === 0 && scheduler.running().length === jobs.length;
    const goesOn = alone && jobs.every((job) => !job.ended && !isFull(job, 1));
    const [chosen, following] = await Promise.all([
      numbers,
      goesOn ? (model as Answering).decode(tokens, next, { logits: true }) : undefined,
    ]);
    executor.release(tokens, logits);
    jobs.forEach((job, row) => take(job, () => ({ token: chosen[row] })));
    if (!following) return undefined;
    scheduler.done({ model, pieces: next });
    if (jobs.some(({ ended }) => !ended)) return following;
    executor.release(following);
  }

  /** Whether an answer ends with so many tokens more. */
  function isFull({ request, tokens }: Request, more: number): boolean {
    const length = tokens.length + more;
    return length - request.tokens.length >= request.maxTokens || length >= contextLength;
  }

  /** Adds the next token to an answer. An error in choosing it (a grammar's) ends this answer alone. */
  function take(job: Request, choose: () => TokenEvent): void {
    if (job.ended) return;
    const { request, tokens, output } = job;
    try {
      const event = choose(), { token } = event;
      const stop = request.stopIds.has(token);
      if (!stop) request.constraint?.accept(token);
      tokens.push(token);
      counts.answerTokens++;
      const finish = stop ? "stop" : isFull(job, 0) ? "length" : undefined;
      output.push(finish ? { ...event, finish } : event);
      if (finish) job.end();
    } catch (error) {
      job.end(error);
    }
  }

  /** Does something between turns, when it comes to it. */
  function between<T>(task: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      tasks.push(async () => {
        try {
          resolve(await task());
        } catch (error) {
          reject(error);
        }
      });
      wake();
    });
  }

  function refuseWhenStopped(): void {
    if (stopped) throw new EngineStopped(stopped.message, { cause: stopped.cause });
  }

  return {
    contextLength,
    places: slots + queue,
    models: () => models.all().map(({ about }) => about),
    generate(request) {
      refuseWhenStopped();
      const model = models.find(request.model), { signal, constraint } = request;
      const aborted = () => job.end();
      const output = pushedStream(aborted);
      const job: Request = {
        ...{ model, request, output, stored: 0, begun: performance.now(), ended: false },
        tokens: Array.from(request.tokens),
        end(error) {
          if (job.ended) return;
          job.ended = true;
          signal.removeEventListener("abort", aborted);
          scheduler.leave(job);
          output.end(error);
          constraint?.dispose();
          usual += ((performance.now() - job.begun) / 1000 - usual) / 8;
          onEnd.splice(0).forEach((listener) => listener());
        },
      };
      if (signal.aborted || request.maxTokens < 1) job.end();
      else if (!scheduler.add(job)) {
        throw new QueueFull(Math.min(60, Math.max(1, Math.ceil(usual * scheduler.waiting().length / slots))));
      } else {
        signal.addEventListener("abort", aborted);
        wake();
      }
      return output.stream;
    },
    async embed(id, prompts, signal) {
      refuseWhenStopped();
      const { generator } = models.find(id), found: Float32Array[] = [];
      for (const prompt of prompts) {
        signal.throwIfAborted();
        found.push(
          await between(() => {
            refuseWhenStopped();
            return embedPrompt(generator, prompt);
          }),
        );
      }
      return found;
    },
    async addAdapter({ id, folder, aliases }) {
      refuseWhenStopped();
      models.checkFree([id, ...aliases]);
      await between(async () => {
        const { generator, created } = await readAdapter(base, folder);
        // Somebody may have been faster.
        models.checkFree([id, ...aliases]);
        models.add(answering({ id, aliases, created, parent: options.id }, generator));
      });
    },
    async removeAdapter(id) {
      const model = models.remove(id);
      const asked = () => [...scheduler.running(), ...scheduler.waiting()].some((job) => job.model === model);
      while (asked()) await ended();
      await between(() => {
        scheduler.forget(model);
        releaseAdapter(model.generator);
        return Promise.resolve();
      });
    },
    stats: () => ({ running: scheduler.running().length, waiting: scheduler.waiting().length, ...counts }),
    async close(limit) {
      stopped ??= new EngineStopped("The engine is stopping");
      for (const job of scheduler.waiting()) job.end(stopped);
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        onEnd.splice(0).forEach((listener) => listener());
      }, limit);
      while (scheduler.running().length > 0 && !late) await ended();
      clearTimeout(timer);
      for (const job of scheduler.running()) job.end(stopped);
      while (loop) await loop;
      if (freed) return;
      freed = true;
      for (const { generator } of models.all()) releaseAdapter(generator);
      cache.release();
    },
  };

  /** The end of any request. */
  function ended(): Promise<void> {
    return new Promise((resolve) => onEnd.push(resolve));
  }
}
