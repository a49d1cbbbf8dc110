// Rotary frequencies against transformers' own functions: tests/golden/rope/make_rope.py asked them.
import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { ropeFrequencies, ropeTables } from "../../lib/model/rope.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenPath } from "../helpers/golden.ts";

const golden: { config: Record<string, unknown>; inv_freq: number[]; attention_factor: number }[] = JSON.parse(
  Deno.readTextFileSync(goldenPath("rope/rope.json")),
);

Deno.test("ropeFrequencies() gives transformers' frequencies for linear, dynamic, llama3 and yarn in both spellings", () => {
  for (const { config, inv_freq } of golden) {
    const { rope, headDim } = configFromHf(config, { source: "config.json" });
    const scaling = (config.rope_parameters ?? config.rope_scaling) as { factor: number };
    // transformers rounds to f32 up to four times on the way, and twice the share of a frequency that stays, which
    // weighs `factor` times as much as the rest: 2^-24 each.
    const rtol = (4 + 2 * scaling.factor) * 2 ** -24;
    assertClose(ropeFrequencies(rope, headDim), inv_freq, { rtol, atol: 0, what: JSON.stringify(scaling) });
  }
});

Deno.test("ropeTables() holds cos and sin of position * frequency times the attention factor", () => {
  assert.ok(golden.some(({ attention_factor }) => attention_factor !== 1));
  for (const { config, inv_freq, attention_factor } of golden) {
    const { rope, headDim } = configFromHf(config, { source: "config.json" });
    const { cos, sin } = ropeTables(rope, headDim, [0, 1, 7]), half = headDim / 2;
    for (const [t, position] of [0, 1, 7].entries()) {
      const part = (table: Float32Array) => table.subarray(t * half, (t + 1) * half);
      // An angle of at most 7, off by 2.4e-7 of itself.
      const close = { rtol: 0, atol: 4e-6 };
      assertClose(part(cos), inv_freq.map((f) => attention_factor * Math.cos(position * f)), close);
      assertClose(part(sin), inv_freq.map((f) => attention_factor * Math.sin(position * f)), close);
    }
  }
});

Deno.test("configFromHf() reads any rope scaling as finite frequencies, or refuses it with a UserError", () => {
  const [{ config }] = golden;
  const number = fc.oneof(fc.double(), fc.anything());
  const json = fc.record({
    type: fc.constantFrom("linear", "dynamic", "yarn", "llama3", "longrope", "default", "__proto__", "toString"),
    factor: number,
    original_max_position_embeddings: number,
    beta_fast: number,
    beta_slow: number,
    low_freq_factor: number,
    high_freq_factor: number,
    attention_factor: number,
    mscale: number,
    mscale_all_dim: number,
    truncate: fc.anything(),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(json, fc.boolean(), (scaling, recent) => {
      let parsed;
      try {
        parsed = configFromHf({ ...config, [recent ? "rope_parameters" : "rope_scaling"]: scaling }, { source: "c" });
      } catch (error) {
        assert.ok(error instanceof UserError, String((error as Error).stack));
        return;
      }
      const { cos, sin } = ropeTables(parsed.rope, parsed.headDim, [1]);
      assert.ok([...cos, ...sin].every(Number.isFinite));
    }),
    { numRuns: 500 },
  );
});
