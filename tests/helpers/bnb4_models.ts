/** Tiny bitsandbytes 4-bit checkpoints, and what PyTorch says of them: one test body for every executor. */
import type { Executor } from "../../lib/ops.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";
import { assertClose } from "./close.ts";
import { checkGoldenLogits } from "./golden_models.ts";
import { readTinyModel, type TinyModel, withTinyModel } from "./tiny_model.ts";

/** Makes the checkpoint that bitsandbytes writes of the tiny llama3 when layer 1's feed-forward is to be skipped. */
export function skipFeedForward({ config, tensors }: TinyModel): void {
  const skipped = ["gate_proj", "up_proj", "down_proj"].map((name) => `model.layers.1.mlp.${name}.weight`);
  for (const name of tensors.keys()) {
    if (skipped.some((weight) => name.startsWith(weight))) tensors.delete(name);
  }
  const plain = readTinyModel("llama3").tensors;
  for (const name of skipped) tensors.set(name, plain.get(name)!);
  const quantization = config.quantization_config as Record<string, unknown>;
  quantization.llm_int8_skip_modules = ["lm_head", "model.layers.1.mlp"];
}

/**
 * Logits of both checkpoints, the executor taking the codes: within `rtol` of the float64 reference on the same codes,
 * and near PyTorch's on what bitsandbytes dequantises, which rounds each weight to bfloat16 (2^-9 of each at most, over
 * fourteen products).
 */
export async function checkBnb4Logits({ executor, rtol }: { executor: Executor; rtol: number }): Promise<void> {
  const check = async (name: string, folder?: string) => {
    const near = { linear: "nf4", rtol: 1e-2, folder } as const;
    const found = await checkGoldenLogits(name, { ...near, executor });
    const expected = await checkGoldenLogits(name, { ...near, executor: executorFloat64() });
    assertClose(found, expected, { rtol, what: `${name}: logits` });
  };
  await check("llama3_bnb4");
  await withTinyModel({ name: "llama3_bnb4", change: skipFeedForward }, (folder) => check("llama3_bnb4_skip", folder));
}
