/**
 * The memory plan of a training run on the CPU: how many rows of a window run as one packed batch, and how many layers
 * keep their values for the backward instead of computing them again. Larger passes mean larger matrix products and
 * fewer repeats of the work per pass; kept layers save a quarter of a step. Estimates come from shapes alone, before
 * anything is loaded; the constants were measured (tests/bench/LOG.md).
 */
import { UserError } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import { largeTable } from "./weights.ts";

export interface PlanOptions {
  config: ModelConfig;
  /** Of the frozen weights, once loaded (nf4WeightBytes). */
  weightBytes: number;
  /** Number of trained elements, and bytes of optimiser state for each (2 with 8-bit AdamW, 8 with AdamW). */
  trained: number;
  stateBytes: number;
  /** LoRA rank times number of adapted modules of a layer: values kept for each token. */
  rankSum: number;
  /** Rows of one optimiser step. */
  windowRows: number;
  /** Tokens of the largest pass if passes have this many rows, and its longest row. */
  passTokens: (rows: number) => { tokens: number; longest: number };
  /** Bytes that the process may use. */
  budget: number;
  /** true: no layer keeps its values. false: all do. "auto": what fits. */
  checkpointing: boolean | "auto";
}

export interface MemoryPlan {
  rowsPerPass: number;
  keepLayers: number;
  /** Labelled positions whose logits exist at one time. */
  headChunk: number;
  /** Bytes by part, and their sum: the expected peak. */
  parts: { runtime: number; weights: number; adapter: number; activations: number; work: number };
  bytes: number;
}

const MiB = 2 ** 20;
/** Deno, ONNX Runtime and the program itself. */
const runtime = 145 * MiB;
/** What the pool of values holds beyond what is in use: lengths of batches differ, and it rounds up. */
const poolSlack = 1.03;
/** The same of ONNX Runtime's arena: measured over passes of 1,024 and 2,048 tokens. */
const arenaSlack = 1.25;

/** The fastest plan that fits. UserError naming what would make it fit when none does. */
export function memoryPlan(options: PlanOptions): MemoryPlan {
  const { config, windowRows, budget, checkpointing } = options;
  let best: MemoryPlan | undefined, bestCost = Infinity, smallest: MemoryPlan | undefined;
  for (let passes = 1; passes <= windowRows; passes++) {
    const rowsPerPass = Math.ceil(windowRows / passes);
    if (passes > 1 && Math.ceil(windowRows / (passes - 1)) === rowsPerPass) continue;
    const lowest = checkpointing === false ? config.layers : 0;
    const highest = checkpointing === true ? 0 : config.layers;
    let plan: MemoryPlan | undefined;
    for (let keep = highest; keep >= lowest; keep--) {
      plan = estimate(options, { rowsPerPass, keepLayers: keep });
      if (plan.bytes <= budget) break;
    }
    if (!smallest || plan!.bytes < smallest.bytes) smallest = plan;
    if (plan!.bytes > budget) continue;
    // A pass costs about as much as 40 more tokens (weights dequantised, small products); recomputing a quarter.
    const { tokens } = options.passTokens(rowsPerPass);
    const cost = (1 + 40 / Math.max(1, tokens)) * (1 + 0.25 * (1 - plan!.keepLayers / config.layers));
    if (cost < bestCost) [best, bestCost] = [plan, cost];
  }
  if (best) return best;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const { longest } = options.passTokens(1);
  throw new UserError(
    `Cannot train this model in ${gib(budget)}: one row of ${longest} tokens at a time needs ${gib(smallest!.bytes)}`,
    {
      hint: checkpointing === false
        ? "leave gradient_checkpointing on auto, or lower max_length or r"
        : "lower max_length or r, raise max_memory, or choose a smaller model; ftl plan says what would fit",
    },
  );
}

function estimate(
  { config, weightBytes, trained, stateBytes, rankSum, passTokens }: PlanOptions,
  { rowsPerPass, keepLayers }: { rowsPerPass: number; keepLayers: number },
): MemoryPlan {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V, heads, kvHeads, headDim: S, layers } = config;
  const { tokens: T, longest: L } = passTokens(rowsPerPass);
  const Q = heads * S, K = kvHeads * S;
  const layerWeights = D * Q * 2 + D * K * 2 + 3 * D * F;
  const adapter = trained * (8 + stateBytes);
  const norms = (config.qkNorm ? Q + K : 0) + (config.postNorms ? 2 * D : 0);
  const kept = T * (Q + 2 * K + D + 2 * F + norms + rankSum) * 4;
  // Every layer keeps its input; one layer at a time has the rest even when none keeps it.
  const activations = (layers + 2) * T * D * 4 + Math.max(1, keepLayers) * kept;
  const headChunk = headChunkOf(V);
  // The layer's weights, written out in f32.
  const written = layerWeights * 4;
  // Inside a layer's backward: the feed-forward's gate, up, their gradients and activation; the scores of whole rows,
  // their softmax and its gradient. Inside the head: the chunk's logits. The arena keeps the memory of both, since what
  // one leaves free in pieces is too small for the other.
  const scores = rowsPerPass * heads * L * L * 4;
  const backward = T * (4 * F + 2 * D + 3 * Q + 2 * K) * 4 + 3 * scores;
  // A slice of a head that is kept in 16 bits is cast at a time.
  const head = headChunk * V * 4 + T * D * 4 + (V * D >= largeTable ? Math.min(V, 8192) * D * 4 : 0);
  const parts = {
    runtime,
    weights: weightBytes,
    adapter,
    activations: poolSlack * activations,
    work: written + arenaSlack * (backward + head) + L * L * 4,
  };
  const bytes = Object.values(parts).reduce((a, b) => a + b, 0);
  return { rowsPerPass, keepLayers, headChunk, parts, bytes };
}

/** Positions whose logits fill no more than 48 MiB, and no more than 8 MiB a slice of the vocabulary. */
function headChunkOf(vocabulary: number): number {
  return Math.min(248, Math.max(16, Math.floor(48 * MiB / (4 * vocabulary))));
}
