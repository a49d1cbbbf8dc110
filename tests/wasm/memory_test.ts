/** Who has which part of the WASM engine's memory. */
import assert from "node:assert/strict";
import { mostBytes, reserved, sharedMemory } from "../../lib/wasm/memory.ts";

Deno.test("sharedMemory() gives parts that do not meet, and gives freed ones again, joined with their neighbours", () => {
  const shared = sharedMemory(2), first = reserved(2);
  const [a, b, c] = [100, 1000, 48].map(shared.allocate);
  assert.deepEqual([a, b, c], [first, first + 128, first + 128 + 1024]);
  shared.free(a);
  shared.free(c);
  assert.equal(shared.allocate(48), c, "the smallest gap that is large enough");
  shared.free(c);
  shared.free(b);
  assert.equal(shared.allocate(1100), a, "three in one");
  assert.ok(a % 64 === 0);
});

Deno.test("sharedMemory() grows, is zeros at first, and refuses what 32 bits do not reach", () => {
  const shared = sharedMemory(1), room = shared.room();
  assert.equal(room, mostBytes - reserved(1));
  const floats = shared.floats(shared.allocate(40_000_000), 10_000_000);
  assert.ok(floats.every((x) => x === 0));
  floats.fill(1);
  assert.throws(() => shared.allocate(room), { name: "UserError", message: /are more than \d+, which are left/ });
});
