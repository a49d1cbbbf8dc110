/**
 * The model, forward: the call list of one decoder layer, and the embedding and the head around the layers. The flags
 * of ModelConfig are the only difference between families. Everything a layer's backward needs is returned beside y.
 *
 * Inputs of a segment are one flat record: `x`, the batch (`cos`, `sin`, and `rows.*`, or `cache.*` where the tokens
 * continue what a cache holds), the weights by module name
 * (`q_proj`, `input_layernorm`, ...) and, where a module is trained, `q_proj.lora_A`, `q_proj.lora_B`
 * (and `q_proj.magnitude`, `q_proj.norm` with DoRA, `q_proj.dropout` with dropout).
 */
import type { AttentionOptions, Ops, Segment, Value } from "../ops.ts";
import { rowsOf } from "./batch.ts";
import { cachedOf } from "./kv_cache.ts";
import type { ModelConfig } from "./config.ts";
import type { Projection } from "./names.ts";

export interface LayerOptions {
  config: ModelConfig;
  /** alpha/r, or alpha/sqrt(r) with rsLoRA. */
  loraScale: number;
  /** Tokens that one sees, with itself; Infinity or absent: all. Only where they are in a cache: `rows` say it themselves. */
  window?: number;
}

export function attentionOptions(config: ModelConfig): AttentionOptions {
  return { heads: config.heads, kvHeads: config.kvHeads, scale: config.attentionScale };
}

/**
 * y = x*W^T + s*(x*A^T)*B^T (+ bias); with DoRA (m/|W + sBA|) times the sum before the bias.
 * x [T, I] -> y [T, O], t = x*A^T [T, R] for the backward. Inputs may hold t already, from a forward before.
 */
export function project<V extends Value>(
  ops: Ops<V>,
  inputs: Record<string, V>,
  { name, x, loraScale }: { name: Projection; x: V; loraScale: number },
): { y: V; t?: V } {
  const a = inputs[`${name}.lora_A`], b = inputs[`${name}.lora_B`], bias = inputs[`${name}.bias`];
  let y = ops.linear(x, inputs[name]);
  let t: V | undefined;
  if (a) {
    const dropout = inputs[`${name}.dropout`];
    t = inputs[`${name}.t`] ?? ops.matmul(dropout ? ops.mul(x, dropout) : x, a, { transB: true });
    y = ops.matmul(t, b, { transB: true, scale: loraScale, plus: y });
    const magnitude = inputs[`${name}.magnitude`];
    if (magnitude) y = ops.mul(y, ops.div(magnitude, inputs[`${name}.norm`]));
  }
  return { y: bias ? ops.add(y, bias) : y, t };
}

/** One layer. Returns y and what layerBackward reads: see `saved` there. */
export function layerForward<V extends Value>(
  ops: Ops<V>,
  inputs: Record<string, V>,
  { config, loraScale, window = Infinity }: LayerOptions,
): Record<string, V> {
  const eps = { eps: config.rmsEps };
  const saved: Record<string, V> = {};
  const projected = (name: Projection, x: V): V => {
    const { y, t } = project(ops, inputs, { name, x, loraScale });
    if (t) saved[`${name}.t`] = t;
    return y;
  };
  const { x, cos, sin } = inputs;

  const h = ops.rmsNorm(x, inputs.input_layernorm, eps);
  let q = projected("q_proj", h), k = projected("k_proj", h);
  const v = projected("v_proj", h);
  if (config.qkNorm) {
    saved.q_raw = q;
    saved.k_raw = k;
    q = ops.rmsNorm(q, inputs.q_norm, eps);
    k = ops.rmsNorm(k, inputs.k_norm, eps);
  }
  q = ops.rope(q, cos, sin, { heads: config.heads });
  k = ops.rope(k, cos, sin, { heads: config.kvHeads });
  let o = projected("o_proj", attend(q, k, v));
  if (config.postNorms) {
    saved.o_raw = o;
    o = ops.rmsNorm(o, inputs.post_attention_layernorm, eps);
  }
  const mid = ops.add(x, o);

  const h2 = ops.rmsNorm(mid, feedForwardNorm(inputs, config), eps);
  const gate = projected("gate_proj", h2), up = projected("up_proj", h2);
  let down = projected("down_proj", ops.gated(gate, up, config.activation));
  if (config.postNorms) {
    saved.down_raw = down;
    down = ops.rmsNorm(down, inputs.post_feedforward_layernorm, eps);
  }
  return { ...saved, q, k, v, mid, gate, up, y: ops.add(mid, down) };

  function attend(q: V, k: V, v: V): V {
    const heads = attentionOptions(config), cached = cachedOf(inputs);
    if (cached) return ops.attentionCached(q, k, v, cached, { ...heads, window });
    const rows = rowsOf(inputs), attended = ops.attentionWithStats?.(q, k, v, rows, heads);
    if (!attended) return ops.attention(q, k, v, rows, heads);
    saved.attention = attended.y;
    saved.attention_stats = attended.stats;
    return attended.y;
  }
}

/** The norm before the feed-forward: gemma3 gives it a name of its own. */
export function feedForwardNorm<V>(inputs: Record<string, V>, config: ModelConfig): V {
  return config.postNorms ? inputs.pre_feedforward_layernorm : inputs.post_attention_layernorm;
}

/** tokens i32 [T], embed_tokens [V, D] -> x [T, D]. */
export function embedSegment(config: ModelConfig): Segment {
  return {
    key: "embed",
    build(ops, inputs) {
      const x = ops.gatherRows(inputs.embed_tokens, inputs.tokens);
      return { x: config.embeddingScale === 1 ? x : ops.scale(x, config.embeddingScale) };
    },
  };
}

export function layerSegment(options: LayerOptions): Segment {
  return {
    key: `layer_forward|${options.loraScale}`,
    build: (ops, inputs) => layerForward(ops, inputs, options),
  };
}

/** A layer whose saved values nobody will read. */
export function layerInferenceSegment(options: LayerOptions, keep: string[] = []): Segment {
  return {
    key: `layer_inference|${options.loraScale}|${keep}`,
    build(ops, inputs) {
      const all = layerForward(ops, inputs, options);
      return Object.fromEntries(["y", ...keep].map((name) => [name, all[name]]));
    },
  };
}

/** Logits of chosen positions: x [T, D], index i32 [N] -> logits [N, V]. */
export function logitsSegment(config: ModelConfig): Segment {
  return {
    key: "logits",
    build(ops, inputs) {
      const h = ops.rmsNorm(ops.gatherRows(inputs.x, inputs.index), inputs.norm, { eps: config.rmsEps });
      return { logits: ops.linear(h, inputs.lm_head) };
    },
  };
}

/** Loss of chosen positions without gradient: x [T, D], index and labels i32 [N] -> loss [N]. */
export function lossSegment(config: ModelConfig): Segment {
  return {
    key: "loss",
    build(ops, inputs) {
      const h = ops.rmsNorm(ops.gatherRows(inputs.x, inputs.index), inputs.norm, { eps: config.rmsEps });
      return { loss: ops.crossEntropy(h, inputs.lm_head, inputs.labels, { scale: 1 }).loss };
    },
  };
}
