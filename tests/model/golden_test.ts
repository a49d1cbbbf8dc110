// Whole tiny models against PyTorch and PEFT, through the float64 reference: what differs is PyTorch's f32 rounding.
import { skipFeedForward } from "../helpers/bnb4_models.ts";
import { checkGoldenLogits, checkGoldenTraining, goldenModels } from "../helpers/golden_models.ts";
import { withTinyModel } from "../helpers/tiny_model.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

for (const name of goldenModels) {
  Deno.test(`layerForward() gives PyTorch's logits for ${name} in float64`, async () => {
    await checkGoldenLogits(name, { executor: executorFloat64(), rtol: 1e-5 });
  });

  Deno.test(`makeTrainable() gives PEFT's loss and LoRA gradients for ${name} in float64`, async () => {
    await checkGoldenTraining(name, { executor: executorFloat64(), rtol: 1e-4, lossRtol: 1e-6 });
  });
}

Deno.test("layerForward() gives PyTorch's logits for bitsandbytes 4-bit checkpoints in float64", async () => {
  const exact = { executor: executorFloat64(), rtol: 1e-5 };
  await checkGoldenLogits("llama3_bnb4", exact);
  await withTinyModel({ name: "llama3_bnb4", change: skipFeedForward }, async (folder) => {
    await checkGoldenLogits("llama3_bnb4_skip", { ...exact, folder });
  });
});

Deno.test("makeTrainable() gives the same gradients row by row and with kept layers", async () => {
  const executor = executorFloat64();
  await checkGoldenTraining("gemma3", { executor, rtol: 1e-4, lossRtol: 1e-6, keepLayers: 2, split: true });
});
