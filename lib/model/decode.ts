/**
 * One new token for each of B sequences against their caches: the call list of forward.ts at T = B, with attention over
 * stored keys and values instead of a batch. Attention needs the token's own key in the cache first, so a layer falls
 * into two halves; the second half of a layer and the first of the next run as one segment.
 */
import type { Ops, Segment, Value } from "../ops.ts";
import { attentionOptions, feedForwardNorm, type LayerOptions, project } from "./forward.ts";
import type { Projection } from "./names.ts";

/** Prefix of the next layer's weights and of its cos and sin in a segment's inputs. */
export const nextLayer = "next.";

/** Up to the cache: x [B, D] -> q [B, H*S], k and v [B, G*S], turned to the positions of cos and sin. */
function beforeAttention<V extends Value>(
  ops: Ops<V>,
  inputs: Record<string, V>,
  { config, loraScale }: LayerOptions,
): Record<"q" | "k" | "v", V> {
  const eps = { eps: config.rmsEps };
  const { cos, sin } = inputs;
  const h = ops.rmsNorm(inputs.x, inputs.input_layernorm, eps);
  const projected = (name: Projection) => project(ops, inputs, { name, x: h, loraScale }).y;
  let q = projected("q_proj"), k = projected("k_proj");
  if (config.qkNorm) {
    q = ops.rmsNorm(q, inputs.q_norm, eps);
    k = ops.rmsNorm(k, inputs.k_norm, eps);
  }
  return {
    q: ops.rope(q, cos, sin, { heads: config.heads }),
    k: ops.rope(k, cos, sin, { heads: config.kvHeads }),
    v: projected("v_proj"),
  };
}

/** From the cache on: x [B, D], q, keys and values [B, C, G*S], lengths and mask (`Visible`) -> y [B, D]. */
function afterAttention<V extends Value>(
  ops: Ops<V>,
  inputs: Record<string, V>,
  { config, loraScale }: LayerOptions,
): V {
  const eps = { eps: config.rmsEps };
  const projected = (name: Projection, x: V) => project(ops, inputs, { name, x, loraScale }).y;
  const { x, q, keys, values, lengths, mask } = inputs;
  let o = projected("o_proj", ops.attentionCached(q, keys, values, { lengths, mask }, attentionOptions(config)));
  if (config.postNorms) o = ops.rmsNorm(o, inputs.post_attention_layernorm, eps);
  const mid = ops.add(x, o);
  const h = ops.rmsNorm(mid, feedForwardNorm(inputs, config), eps);
  let down = projected("down_proj", ops.gated(projected("gate_proj", h), projected("up_proj", h), config.activation));
  if (config.postNorms) down = ops.rmsNorm(down, inputs.post_feedforward_layernorm, eps);
  return ops.add(mid, down);
}

export interface DecodeSegments {
  /** tokens i32 [B], embed_tokens, the first layer's inputs -> x, q, k, v. */
  first: Segment;
  /** A layer's x, q, keys, values, lengths and weights, the next one's with `nextLayer` before -> x, q, k, v of the next. */
  between: Segment;
  /** The last layer's, with norm and lm_head -> logits [B, V]. */
  last: Segment;
}

export function decodeSegments(options: LayerOptions): DecodeSegments {
  const { config, loraScale } = options;
  return {
    first: {
      key: `decode_first|${loraScale}`,
      build(ops, inputs) {
        const embedded = ops.gatherRows(inputs.embed_tokens, inputs.tokens);
        const x = config.embeddingScale === 1 ? embedded : ops.scale(embedded, config.embeddingScale);
        return { x, ...beforeAttention(ops, { ...inputs, x }, options) };
      },
    },
    between: {
      key: `decode_between|${loraScale}`,
      build(ops, inputs) {
        const x = afterAttention(ops, inputs, options);
        const next = Object.entries(inputs).filter(([name]) => name.startsWith(nextLayer));
        const stripped = Object.fromEntries(next.map(([name, value]) => [name.slice(nextLayer.length), value]));
        return { x, ...beforeAttention(ops, { ...stripped, x }, options) };
      },
    },
    last: {
      key: `decode_last|${loraScale}`,
      build(ops, inputs) {
        const h = ops.rmsNorm(afterAttention(ops, inputs, options), inputs.norm, { eps: config.rmsEps });
        return { logits: ops.linear(h, inputs.lm_head) };
      },
    },
  };
}
