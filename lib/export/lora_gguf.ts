/**
 * Writes an adapter as a GGUF file that llama.cpp and Ollama put on top of the unchanged base model (`--lora`, ADAPTER).
 *
 * Layout: https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py; A [r, in] and B [out, r] as they
 * are, but for the llama family the rows of q's and k's B in GGUF's order. llama.cpp computes alpha/r by itself, so the
 * alpha written is scale*r, which also says rsLoRA's alpha/sqrt(r). DoRA has no such form.
 */
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { writeGguf } from "../formats/gguf_write.ts";
import type { LazyTensor } from "../formats/tensor_file.ts";
import { loraScale } from "../model/adapter.ts";
import { reorderHeads } from "../model/names.ts";
import type { ModelSource } from "../model/source.ts";
import { type FloatType, lazyTensor } from "./encode.ts";
import { ggufArchitecture, kindKeys, type Metadata, value } from "./gguf_keys.ts";
import { type ExportAdapter, lowRanks } from "./merge.ts";

export interface LoraGgufExport {
  /** The base model, for names and shapes. */
  source: Pick<ModelSource, "config" | "tensors" | "path">;
  adapter: ExportAdapter;
  /** Default F32: an adapter is small. */
  dtype?: FloatType;
  /** general.name. */
  name?: string;
}

/** Writes the file. UserError for DoRA, for adapters of mixed rank, and when the file cannot be written. */
export function exportLoraGguf(path: string, { source, adapter, dtype = "F32", name }: LoraGgufExport): void {
  const { config } = source, changes = lowRanks(source, adapter), tensors: LazyTensor[] = [];
  const ranks = new Set([...changes.values()].map(({ r }) => r));
  if (ranks.size !== 1) {
    throw new UserError(`Cannot write the adapter as GGUF: its ranks are ${[...ranks].join(", ") || "none"}`, {
      hint: "Export the merged model instead.",
    });
  }
  for (const tensor of source.tensors) {
    const change = changes.get(tensor.name);
    if (!change) continue;
    const { a, b, r } = change;
    if (change.magnitude) {
      throw new UserError(`Cannot write the adapter as GGUF: it uses DoRA, which llama.cpp cannot put on a model`, {
        hint: "Export the merged model instead (f16, q4_k_m or another).",
      });
    }
    const [outputs, inputs] = tensor.shape;
    const rows = () =>
      tensor.interleavedInGguf ? reorderHeads(b, { headDim: config.headDim, width: r, interleave: true }) : b;
    tensors.push(lazyTensor({ name: `${tensor.gguf}.lora_a`, shape: [r, inputs], dtype }, () => a));
    tensors.push(lazyTensor({ name: `${tensor.gguf}.lora_b`, shape: [outputs, r], dtype }, rows));
  }
  const metadata: Metadata = [
    ["general.architecture", value("string", ggufArchitecture(config))],
    ["general.type", value("string", "adapter")],
    ["general.name", value("string", name ?? `${config.name} LoRA`)],
    ...kindKeys(dtype),
    ["adapter.type", value("string", "lora")],
    ["adapter.lora.alpha", value("float32", loraScale(adapter.settings) * [...ranks][0])],
  ];
  writeAtomic(path, writeGguf(metadata, tensors));
}
