import assert from "node:assert/strict";
import { createPool } from "../../lib/onnx/pool.ts";

Deno.test("createPool() gives a buffer again where it fits closely enough", () => {
  const pool = createPool();
  const first = pool.take(100_000);
  pool.give(first);
  assert.equal(pool.take(100_500).buffer, first.buffer, "a little longer fits the room left");
  pool.give(first);
  assert.notEqual(pool.take(50_000).buffer, first.buffer, "half of it would waste the rest");
});

Deno.test("createPool() drops what lay unused when other sizes are needed", () => {
  const pool = createPool();
  const held = Array.from({ length: 8 }, () => pool.take(200_000));
  const most = pool.bytes();
  held.forEach((view) => pool.give(view));
  Array.from({ length: 12 }, () => pool.take(100_000));
  assert(pool.bytes() <= most, `${pool.bytes()} bytes after ${most}`);
  const other = pool.take(300_000);
  assert.equal(other.length, 300_000);
});
