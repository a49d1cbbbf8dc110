/**
 * The memory plan of a training run on a GPU: how many rows of a window run as one packed batch, how many layers keep
 * their values for the backward, how many positions have logits at one time. Larger passes mean larger products, which
 * GPUs need to be busy, so the whole window is one pass where it fits. Two limits count: the budget, and the largest
 * binding, which every single tensor of a pass must fit. Sums up the list of gpu_buffers.ts and nothing else; at 8
 * billion parameters the sums were within 2 % of what the executor counted on an H100 (tests/bench/LOG.md).
 */
import { UserError } from "../errors.ts";
import { bufferBytes, type GpuBuffer, modelBuffers, type ModelRun, passBuffers, peakBytes } from "./gpu_buffers.ts";
import type { MemoryPlan, PlanOptions } from "./plan.ts";

export interface GpuPlanOptions
  extends Pick<PlanOptions, "windowRows" | "passTokens" | "budget" | "checkpointing">, ModelRun {}

export interface GpuMemoryPlan extends MemoryPlan {
  buffers: GpuBuffer[];
}

const MiB = 2 ** 20;
/**
 * The driver's own for a device, with pipelines, parameters and staging. Measured before any buffer on an H100: 45 MiB
 * through Dawn, 210 MiB through Deno's WebGPU, which also takes memory from the driver in pieces of 256 MiB.
 */
const runtime = 256 * MiB;
/** Share of activations and work that a pool of buffers holds beyond what is in use. */
const poolSlack = 0.05;

/**
 * What a pass costs beside its tokens (weights written out twice, thousands of dispatches), in tokens: on an H100 56 ms
 * and 0.17 ms a token at 8 billion parameters.
 */
const passTokensWorth = 330;
/** What a head chunk costs beside its positions (the head read again), in positions. */
const chunkWorth = 4;
/** What computing the layers again adds to a step: 143 to 196 ms there. */
const recomputing = 0.35;

const headChunks = [1024, 512, 256, 128, 64, 32, 16];

/** The fastest plan that fits. UserError naming what would make it fit when none does. */
export function gpuMemoryPlan(options: GpuPlanOptions): GpuMemoryPlan {
  const { config: { layers }, windowRows, budget, checkpointing } = options;
  const lowest = checkpointing === false ? layers : 0, highest = checkpointing === true ? 0 : layers;
  const model = modelBuffers(options);
  let best: GpuMemoryPlan | undefined, bestCost = Infinity, smallest: GpuMemoryPlan | undefined;
  for (let passes = 1; passes <= windowRows; passes++) {
    const rowsPerPass = Math.ceil(windowRows / passes);
    if (passes > 1 && Math.ceil(windowRows / (passes - 1)) === rowsPerPass) continue;
    const { tokens } = options.passTokens(rowsPerPass);
    for (const headChunk of headChunks) {
      const at = (keepLayers: number) => estimate(options, model, { rowsPerPass, tokens, keepLayers, headChunk });
      const least = at(lowest);
      if (largestTensor(least) > options.maxBinding) continue;
      if (!smallest || least.bytes < smallest.bytes) smallest = least;
      if (least.bytes > budget) continue;
      let plan = least;
      for (let keep = highest; keep > lowest; keep--) {
        plan = at(keep);
        if (plan.bytes <= budget) break;
        plan = least;
      }
      const cost = (1 + passTokensWorth / Math.max(1, tokens)) * (1 + chunkWorth / headChunk) *
        (1 + recomputing * (1 - plan.keepLayers / layers));
      if (cost < bestCost) [best, bestCost] = [plan, cost];
    }
  }
  if (best) return best;
  throw refusal(options, smallest);
}

function refusal(options: GpuPlanOptions, smallest: GpuMemoryPlan | undefined): UserError {
  const { budget, maxBinding, checkpointing } = options;
  const { longest } = options.passTokens(1);
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 3 : 1)} GiB`;
  if (!smallest) {
    const pass = { rowsPerPass: 1, tokens: longest, keepLayers: 0, headChunk: headChunks.at(-1)! };
    const plan = estimate(options, [], pass);
    return new UserError(
      `Cannot train this model on this GPU: a row of ${longest} tokens needs a tensor of ${
        gib(largestTensor(plan))
      }, and the driver binds at most ${gib(maxBinding)}`,
      { hint: "lower max_length, or use --engine onnx" },
    );
  }
  return new UserError(
    `Cannot train this model in ${gib(budget)} of GPU memory: one row of ${longest} tokens at a time needs ${
      gib(smallest.bytes)
    }`,
    {
      hint: checkpointing === false
        ? "leave gradient_checkpointing on auto, or lower max_length or r"
        : "lower max_length or r, raise max_memory, choose a smaller model, or use --engine onnx; ftl plan says what would fit",
    },
  );
}

/** Bytes of the largest tensor that cannot be split: all but the weights, which are kept in parts of whole rows. */
function largestTensor({ buffers }: GpuMemoryPlan): number {
  const whole = buffers.filter(({ part }) => part === "activations" || part === "work");
  return whole.reduce((most, buffer) => Math.max(most, bufferBytes(buffer)), 0);
}

function estimate(
  options: GpuPlanOptions,
  model: GpuBuffer[],
  { rowsPerPass, tokens, keepLayers, headChunk }: {
    rowsPerPass: number;
    tokens: number;
    keepLayers: number;
    headChunk: number;
  },
): GpuMemoryPlan {
  const buffers = [...model, ...passBuffers({ ...options, tokens, keepLayers, headChunk })];
  const parts = peakBytes(buffers), pool = poolSlack * (parts.activations + parts.work);
  const all = { runtime: runtime + pool, ...parts };
  const bytes = Object.values(all).reduce((a, b) => a + b, 0);
  return { rowsPerPass, keepLayers, headChunk, parts: all, bytes, buffers };
}
