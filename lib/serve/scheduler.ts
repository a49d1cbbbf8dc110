/**
 * Who runs next, in which slot of the cache, and who waits: plain bookkeeping that knows of no model and no clock, so
 * that every decision can be tested by itself.
 *
 * Running requests of one model advance by one token together. Prompts are read a piece at a time, and between two
 * pieces every model that answers has a turn: a long prompt delays others by one piece, not by all of it. Models, and
 * prompts being read, take turns among themselves.
 */

/** What the scheduler knows of a request, and keeps up to date. */
export interface Job {
  /** The model with its adapter: cached tokens of one are of no use to another. Compared by identity. */
  readonly model: object;
  /** The prompt and the answer so far. */
  readonly tokens: number[];
  /** How many of these the cache holds. */
  stored: number;
  /** Its slot while it runs. */
  slot?: number;
}

/** The next piece of work: new tokens of requests of one model. */
export interface Turn<J extends Job> {
  model: object;
  pieces: { job: J; slot: number; start: number; count: number }[];
}

export interface SchedulerOptions {
  slots: number;
  /** Requests that may wait. */
  queue: number;
  /** Most tokens of a prompt that are read at once while others answer, and while none does. */
  chunk: number;
  chunkAlone: number;
}

export interface Scheduler<J extends Job> {
  /** Queues a request; false where there is no place. */
  add(job: J): boolean;
  /** Gives free slots to those that have waited longest; these, with what their slots hold already. */
  admit(): J[];
  /** What to do next; undefined: nothing runs. */
  next(): Turn<J> | undefined;
  /** Its tokens are in the cache now. Those who have left meanwhile are passed over. */
  done(turn: Turn<J>): void;
  /** It has ended, failed or gone: from its slot, whose tokens stay for others, or from the queue. */
  leave(job: J): void;
  /** What is cached of a model, or of all, is worth nothing any more. */
  forget(model?: object): void;
  running(): J[];
  waiting(): J[];
}

interface Slot<J> {
  model?: object;
  /** What its cache holds, while nobody runs in it. */
  tokens: number[];
  job?: J;
  /** When it was left. */
  left: number;
}

export function makeScheduler<J extends Job>(options: SchedulerOptions): Scheduler<J> {
  const slots = Array.from({ length: options.slots }, (): Slot<J> => ({ tokens: [], left: 0 }));
  let queue: J[] = [];
  let now = 0, lastPrompt = 0;
  /** When models and prompts had their last turn. */
  const turns = new WeakMap<object, number>();
  const lastTurn = (of: object) => turns.get(of) ?? 0;
  const longestAgo = <T extends object>(list: T[]): T | undefined =>
    list.reduce<T | undefined>((best, each) => best && lastTurn(best) <= lastTurn(each) ? best : each, undefined);
  const running = () => slots.flatMap(({ job }) => job ? [job] : []);

  /** Tokens of a request that a slot holds already. The last one must be run: what follows it is asked for. */
  function shared({ model, tokens }: Slot<J>, job: J): number {
    if (model !== job.model) return 0;
    const most = Math.min(tokens.length, job.tokens.length - 1);
    let count = 0;
    while (count < most && tokens[count] === job.tokens[count]) count++;
    return count;
  }

  /**
   * The free slot that saves most; where it saves little, or less than would be lost there (another conversation with the
   * same beginning), the one left longest ago, so that others keep what they hold.
   */
  function slotFor(job: J): Slot<J> | undefined {
    const free = slots.filter((slot) => !slot.job);
    const best = free.reduce<{ slot?: Slot<J>; count: number }>((best, slot) => {
      const count = shared(slot, job);
      return count > best.count ? { slot, count } : best;
    }, { count: 0 });
    const { slot, count } = best;
    if (slot && count * 4 >= job.tokens.length && slot.tokens.length - count <= count) return slot;
    return free.reduce<Slot<J> | undefined>(
      (oldest, slot) => oldest && oldest.left <= slot.left ? oldest : slot,
      undefined,
    );
  }

  function pieceOf(job: J, most: number): Turn<J>["pieces"][number] {
    const count = Math.min(most, job.tokens.length - job.stored);
    return { job, slot: job.slot!, start: job.stored, count };
  }

  return {
    running,
    waiting: () => [...queue],
    add(job) {
      const free = slots.filter(({ job }) => !job).length;
      if (queue.length >= options.queue + free) return false;
      queue.push(job);
      return true;
    },
    admit() {
      const admitted: J[] = [];
      while (queue.length > 0) {
        const slot = slotFor(queue[0]);
        if (!slot) break;
        const job = queue.shift()!;
        job.stored = shared(slot, job);
        job.slot = slots.indexOf(slot);
        Object.assign(slot, { job, model: job.model, tokens: [] });
        admitted.push(job);
      }
      return admitted;
    },
    next() {
      const jobs = running(), reading = jobs.filter(({ tokens, stored }) => tokens.length - stored > 1);
      const answering = jobs.filter(({ tokens, stored }) => tokens.length - stored === 1);
      const model = longestAgo([...new Set(answering.map(({ model }) => model))]);
      if (model && (reading.length === 0 || lastTurn(model) <= lastPrompt)) {
        const own = answering.filter((job) => job.model === model);
        return { model, pieces: own.map((job) => pieceOf(job, 1)) };
      }
      const job = longestAgo(reading);
      if (!job) return undefined;
      const most = answering.length > 0 ? options.chunk : options.chunkAlone;
      return { model: job.model, pieces: [pieceOf(job, most)] };
    },
    done({ model, pieces }) {
      now++;
      const [{ job, count }] = pieces;
      if (pieces.length === 1 && count > 1) turns.set(job, lastPrompt = now);
      else turns.set(model, now);
      for (const { job, start, count } of pieces) if (job.slot !== undefined) job.stored = start + count;
    },
    leave(job) {
      queue = queue.filter((each) => each !== job);
      const slot = slots.find((slot) => slot.job === job);
      if (!slot) return;
      Object.assign(slot, { job: undefined, tokens: job.tokens.slice(0, job.stored), left: ++now });
      job.slot = undefined;
    },
    forget(model) {
      for (const slot of slots) {
        if (!model || slot.model === model) Object.assign(slot, { model: undefined, tokens: [] });
      }
    },
  };
}
