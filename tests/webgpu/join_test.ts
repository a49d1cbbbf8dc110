/** Joining thin products changes the order of dispatches, and must not change what they compute. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { layerBackwardSegment } from "../../lib/model/backward.ts";
import { projections, projectionShape } from "../../lib/model/names.ts";
import type { Dispatch } from "../../lib/webgpu/dispatch.ts";
import { joinDispatches } from "../../lib/webgpu/join.ts";
import { type InputInfo, lower, type Virtual } from "../../lib/webgpu/lower.ts";
import { neededNodes, type Node, type Recorded, recordingOps } from "../../lib/webgpu/record.ts";
import { llama8b as config } from "../helpers/llama8b.ts";

const T = 300;

/** A layer computed again and its backward, on tensor cores, as lowering leaves it. */
function layer(): Dispatch<Virtual>[] {
  const float = (...shape: number[]): InputInfo => ({ shape, dtype: "f32", persistent: false });
  const inputs: Record<string, InputInfo> = {
    ...{ x: float(T, 4096), dy: float(T, 4096), cos: float(T, 64), sin: float(T, 64) },
    ...{ input_layernorm: float(4096), post_attention_layernorm: float(4096) },
    "rows.spans": { shape: [T, 2], dtype: "i32", persistent: false },
  };
  for (const name of projections) {
    const [O, I] = projectionShape(config, name);
    inputs[name] = {
      ...{ shape: [O, I], dtype: "f16", persistent: true },
      weight: { kind: "nf4", rows: [O], double: true, offset: 0 },
    };
    inputs[`${name}.lora_A`] = { ...float(16, I), persistent: true };
    inputs[`${name}.lora_B`] = { ...float(O, 16), persistent: true };
  }
  const nodes: Node[] = [], recorded: Record<string, Recorded> = {};
  for (const [name, { shape }] of Object.entries(inputs)) recorded[name] = { shape, input: name };
  const segment = layerBackwardSegment({ config, loraScale: 1 }, { again: true, first: false });
  const outputs = segment.build(recordingOps(nodes), recorded);
  const target = { f16: true, matrix: true, maxBinding: 2 ** 31 };
  return lower(neededNodes(nodes, Object.values(outputs)), { target, inputs, outputs }).dispatches;
}

/** The joined ones one by one again, in their place. */
function apart(dispatches: Dispatch<Virtual>[]): Dispatch<Virtual>[] {
  return dispatches.flatMap((dispatch) => {
    const { products, same_first: same, pair, ...constants } = dispatch.constants ?? {};
    if (pair !== undefined) {
      const [x, cos, sin, y, otherX, otherY] = dispatch.tensors;
      const [count, heads, width, turn, all, otherHeads] = dispatch.params, rest = Number(all) - Number(count);
      return [
        { ...dispatch, constants, tensors: [x, cos, sin, y], params: [count, heads, width, turn, count, 0] },
        {
          ...dispatch,
          constants,
          tensors: [otherX, cos, sin, otherY],
          params: [rest, otherHeads, width, turn, rest, 0],
        },
      ];
    }
    if (products === undefined) return [dispatch];
    return Array.from({ length: Number.parseInt(`${products}`) }, (_, i) => ({
      ...dispatch,
      constants,
      tensors: [dispatch.tensors[same && i > 0 ? 0 : 3 * i], ...dispatch.tensors.slice(3 * i + 1, 3 * i + 3)],
      params: [...dispatch.params.slice(0, 3), dispatch.params[3 + i], 0, 0],
    }));
  });
}

/** What each output holds, as the term that computes it: a tensor is written where it stands first, scratch each time. */
function terms(dispatches: Dispatch<Virtual>[]): Map<string, string> {
  const held = new Map<string, string>();
  for (const { kernel, constants, tensors, params } of dispatches) {
    const places = tensors.flatMap((tensor) => tensor ? [tensor.place] : []);
    const written = places.filter((place, i) =>
      kernel === "nf4_dequantize" ? i === places.length - 1 : !("input" in place) && !held.has(JSON.stringify(place))
    ).map((place) => JSON.stringify(place));
    const read = places.map((place) => JSON.stringify(place)).filter((place) => !written.includes(place));
    // How wide a workgroup's part is may change, and what is computed not.
    const { columns: _, ...rest } = constants ?? {};
    const term = JSON.stringify([kernel, rest, params, read.map((place) => held.get(place) ?? place)]);
    written.forEach((place, i) => held.set(place, createHash("sha256").update(`${term}.${i}`).digest("hex")));
  }
  return new Map([...held].filter(([place]) => place.includes('"output"')));
}

Deno.test("joinDispatches() keeps what a layer's backward computes, in fewer dispatches", () => {
  const single = layer(), joined = joinDispatches(single), expected = terms(single);
  assert.equal(expected.size, 15, "gradients of seven projections and dx");
  assert.deepEqual(new Map([...terms(apart(joined))].sort()), new Map([...expected].sort()));
  // Of q, k and v, and of gate and up: t, dt, and the gradients of A and of B; rotations, forward and back.
  assert.equal(single.length - joined.length, 4 * (2 + 1) + 2);
});
