import assert from "node:assert/strict";
import { type Job, makeScheduler, type Scheduler, type Turn } from "../../lib/serve/scheduler.ts";

interface Named extends Job {
  name: string;
}

const base = { model: "base" }, adapter = { model: "adapter" };

function job(name: string, tokens: number[] | number, model: object = base): Named {
  return {
    name,
    model,
    tokens: typeof tokens === "number" ? Array.from({ length: tokens }, (_, i) => i) : tokens,
    stored: 0,
  };
}

const make = (options: Partial<Parameters<typeof makeScheduler>[0]> = {}): Scheduler<Named> =>
  makeScheduler<Named>({ slots: 2, queue: 2, chunk: 4, chunkAlone: 100, ...options });

/** Does a turn as the engine would: who has read everything gets a token. */
function turn(scheduler: Scheduler<Named>): string {
  const next = scheduler.next();
  if (!next) return "";
  scheduler.done(next);
  for (const { job } of next.pieces) if (job.stored === job.tokens.length) job.tokens.push(7);
  return show(next);
}

const show = ({ pieces }: Turn<Named>) => pieces.map(({ job, count }) => `${job.name}${count}`).join("+");

Deno.test("requests get slots in their order, and wait where there is none", () => {
  const scheduler = make(), [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map((name) => job(name, 2));
  assert.deepEqual([a, b, c, d].map((job) => scheduler.add(job)), [true, true, true, true]);
  assert.equal(scheduler.add(e), false, "two slots and two places");
  assert.deepEqual(scheduler.admit(), [a, b]);
  assert.deepEqual(scheduler.waiting(), [c, d]);
  assert.equal(scheduler.add(e), false);
  scheduler.leave(c);
  assert.equal(scheduler.add(e), true);
  scheduler.leave(a);
  assert.deepEqual(scheduler.admit(), [d]);
  assert.deepEqual([a.slot, d.slot], [undefined, 0]);
  assert.deepEqual([scheduler.running(), scheduler.waiting()], [[d, b], [e]]);
});

Deno.test("those who answer advance together, one who is read comes between them a piece at a time", () => {
  const scheduler = make({ slots: 3 });
  for (const each of [job("a", 3), job("b", 2), job("c", 10)]) scheduler.add(each);
  scheduler.admit();
  const turns = Array.from({ length: 9 }, () => turn(scheduler));
  assert.deepEqual(turns, ["a3", "a1", "b2", "a1+b1", "c4", "a1+b1", "c4", "a1+b1", "c2"]);
  assert.equal(turn(scheduler), "a1+b1+c1");
});

Deno.test("a prompt is read in larger pieces while nobody answers", () => {
  const scheduler = make();
  scheduler.add(job("a", 250));
  scheduler.admit();
  assert.deepEqual([turn(scheduler), turn(scheduler), turn(scheduler), turn(scheduler)], ["a100", "a100", "a50", "a1"]);
});

Deno.test("models take turns, and so do prompts", () => {
  const scheduler = make({ slots: 4 });
  for (const each of [job("a", 1), job("b", 1, adapter), job("c", 9), job("d", 9)]) scheduler.add(each);
  scheduler.admit();
  const turns = Array.from({ length: 10 }, () => turn(scheduler));
  assert.deepEqual(turns, ["a1", "b1", "c4", "a1", "b1", "d4", "a1", "b1", "c4", "a1+c1"]);
});

/** Runs a job to its end in a scheduler that does nothing else. */
function through(scheduler: Scheduler<Named>, name: string, tokens: number[], model?: object): Named {
  const each = job(name, tokens, model);
  scheduler.add(each);
  scheduler.admit();
  const slot = each.slot;
  turn(scheduler);
  scheduler.leave(each);
  return Object.assign(each, { slot });
}

Deno.test("a request takes the slot that holds most of it, of its own model", () => {
  const scheduler = make({ slots: 3 });
  const a = through(scheduler, "a", [1, 2, 3, 4]);
  const b = through(scheduler, "b", [9, 8, 7]);
  const c = through(scheduler, "c", [1, 2, 3, 4], adapter);
  assert.deepEqual([a.slot, b.slot, c.slot], [0, 1, 2]);
  const again = [job("d", [1, 2, 3, 5, 6]), job("e", [1, 2, 3, 5, 6], adapter), job("f", [9, 8, 7])];
  again.forEach((each) => scheduler.add(each));
  scheduler.admit();
  assert.deepEqual(again.map(({ slot, stored }) => [slot, stored]), [[0, 3], [2, 3], [1, 2]]);
});

Deno.test("a request that shares little takes the slot left longest ago", () => {
  const scheduler = make({ slots: 2 });
  through(scheduler, "a", [1, 2, 3, 4]);
  through(scheduler, "b", [2, 5, 6, 7]);
  const c = job("c", [2, 9, 9, 9, 9, 9, 9]);
  scheduler.add(c);
  scheduler.admit();
  assert.deepEqual([c.slot, c.stored], [0, 0]);
});

Deno.test("a conversation that only begins as another does leaves that one what it holds", () => {
  const scheduler = make({ slots: 2 });
  const long = [1, 2, 3, 10, 11, 12, 13, 14, 15], other = [1, 2, 3, 20, 21];
  assert.equal(through(scheduler, "a", long).slot, 0);
  assert.equal(through(scheduler, "b", other).slot, 1);
  // Each goes on where it was, and one that would lose little takes the place of what it shares.
  const again = [job("c", [...long, 16]), job("d", [1, 2, 3, 20, 22])];
  again.forEach((each) => scheduler.add(each));
  scheduler.admit();
  assert.deepEqual(again.map(({ slot, stored }) => [slot, stored]), [[0, 9], [1, 4]]);
});

Deno.test("what was cut off is cached as far as it was read, and nothing of a forgotten model", () => {
  const scheduler = make({ slots: 1, chunkAlone: 4 });
  const a = job("a", 10);
  scheduler.add(a);
  scheduler.admit();
  turn(scheduler);
  const running = scheduler.next()!;
  scheduler.leave(a);
  scheduler.done(running);
  const b = job("b", 10);
  scheduler.add(b);
  scheduler.admit();
  assert.equal(b.stored, 4);
  scheduler.leave(b);
  scheduler.forget(base);
  const c = job("c", 10);
  scheduler.add(c);
  scheduler.admit();
  assert.equal(c.stored, 0);
});
