/** A tiny model whose context YaRN stretches, its attention factor included: one test body for every executor. */
import type { Executor } from "../../lib/ops.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";
import { assertClose } from "./close.ts";
import { logitsOf } from "./golden_models.ts";
import { withTinyModel } from "./tiny_model.ts";

const yarn = { rope_type: "yarn", factor: 8, original_max_position_embeddings: 64, rope_theta: 10_000 };

/** Logits within `rtol` of those of the float64 reference. */
export async function checkYarnLogits({ executor, rtol }: { executor: Executor; rtol: number }): Promise<void> {
  const tokens = Int32Array.from({ length: 40 }, (_, i) => 3 + (i * 37) % 500);
  const rows = [{ tokens, targets: new Uint8Array(tokens.length) }];
  await withTinyModel({ name: "llama_tied", change: ({ config }) => config.rope_parameters = yarn }, async (folder) => {
    const expected = await logitsOf(folder, rows, { executor: executorFloat64() });
    assertClose(await logitsOf(folder, rows, { executor }), expected, { rtol, what: "logits" });
  });
}
