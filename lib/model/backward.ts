/**
 * The model, backward: the call list of forward.ts reversed. Gradients exist for LoRA's A and B (and DoRA's magnitude)
 * only; dx flows through the frozen weights. A gradient is named `d` + the forward name, or `<parameter>.grad`.
 * What is cheap (norms, the activation, attention's probabilities) is computed again instead of kept.
 */
import type { Ops, Segment, Value } from "../ops.ts";
import { rowsOf } from "./batch.ts";
import type { ModelConfig } from "./config.ts";
import { attentionOptions, feedForwardNorm, layerForward, type LayerOptions, project } from "./forward.ts";
import type { Projection } from "./names.ts";

/**
 * One layer. Inputs: those of layerForward, its outputs except y, and dy. Returns dx and `<module>.lora_A.grad`,
 * `<module>.lora_B.grad`, `<module>.magnitude.grad`.
 */
export function layerBackward<V extends Value>(
  ops: Ops<V>,
  inputs: Record<string, V>,
  { config, loraScale }: LayerOptions,
): Record<string, V> {
  const eps = { eps: config.rmsEps };
  const grads: Record<string, V> = {};
  const { x, q, k, v, mid, gate, up, cos, sin, dy } = inputs;

  /** dx of a projection, and the part of its parameters' gradients that does not need x. */
  function inputGradient(name: Projection, dy: V): { dx: V; dt?: V } {
    const a = inputs[`${name}.lora_A`], b = inputs[`${name}.lora_B`];
    if (!a) return { dx: ops.linearBackward(dy, inputs[name]) };
    const magnitude = inputs[`${name}.magnitude`], dropout = inputs[`${name}.dropout`];
    const dsum = magnitude ? ops.mul(dy, ops.div(magnitude, inputs[`${name}.norm`])) : dy;
    grads[`${name}.lora_B.grad`] = ops.matmul(dsum, inputs[`${name}.t`], { transA: true, scale: loraScale });
    const dt = ops.matmul(dsum, b, { scale: loraScale });
    const dx = ops.linearBackward(dsum, inputs[name]);
    return { dx: dropout ? ops.add(dx, ops.mul(ops.matmul(dt, a), dropout)) : ops.matmul(dt, a, { plus: dx }), dt };
  }
  /** The gradients that need x, the projection's input. */
  function parameterGradients(name: Projection, { dy, x, dt }: { dy: V; x: V; dt?: V }): void {
    if (!dt) return;
    const dropout = inputs[`${name}.dropout`];
    grads[`${name}.lora_A.grad`] = ops.matmul(dt, dropout ? ops.mul(x, dropout) : x, { transA: true });
    if (!inputs[`${name}.magnitude`]) return;
    // y = m/norm * z (norm taken as constant, as PEFT does): dm = sum(dy*z)/norm.
    const plain = { ...inputs };
    delete plain[`${name}.magnitude`];
    delete plain[`${name}.bias`];
    const z = project(ops, plain, { name, x, loraScale }).y;
    grads[`${name}.magnitude.grad`] = ops.div(ops.sumRows(ops.mul(dy, z)), inputs[`${name}.norm`]);
  }
  function projectBackward(name: Projection, dy: V, x: V): V {
    const { dx, dt } = inputGradient(name, dy);
    parameterGradients(name, { dy, x, dt });
    return dx;
  }

  // y = mid + down(act(gate(h2)) * up(h2))
  const ddown = config.postNorms
    ? ops.rmsNormBackward(dy, inputs.down_raw, inputs.post_feedforward_layernorm, eps)
    : dy;
  const { dx: dact, dt: dtDown } = inputGradient("down_proj", ddown);
  const { y: act, dgate, dup } = ops.gatedBackward(dact, gate, up, config.activation);
  parameterGradients("down_proj", { dy: ddown, x: act, dt: dtDown });
  const norm2 = feedForwardNorm(inputs, config);
  const h2 = ops.rmsNorm(mid, norm2, eps);
  const dh2 = ops.add(projectBackward("gate_proj", dgate, h2), projectBackward("up_proj", dup, h2));
  const dmid = ops.add(dy, ops.rmsNormBackward(dh2, mid, norm2, eps));

  // mid = x + o(attention(rope(q(h)), rope(k(h)), v(h)))
  const doutput = config.postNorms
    ? ops.rmsNormBackward(dmid, inputs.o_raw, inputs.post_attention_layernorm, eps)
    : dmid;
  const { dx: dattention, dt } = inputGradient("o_proj", doutput);
  const { attention: y, attention_stats: stats } = inputs;
  const attention = ops.attentionBackward(dattention, q, k, v, rowsOf(inputs), {
    ...attentionOptions(config),
    forward: y && stats ? { y, stats } : undefined,
  });
  parameterGradients("o_proj", { dy: doutput, x: attention.y, dt });
  let dq = ops.rope(attention.dq, cos, sin, { heads: config.heads, inverse: true });
  let dk = ops.rope(attention.dk, cos, sin, { heads: config.kvHeads, inverse: true });
  if (config.qkNorm) {
    dq = ops.rmsNormBackward(dq, inputs.q_raw, inputs.q_norm, eps);
    dk = ops.rmsNormBackward(dk, inputs.k_raw, inputs.k_norm, eps);
  }
  const h = ops.rmsNorm(x, inputs.input_layernorm, eps);
  const dh = ops.add(
    ops.add(projectBackward("q_proj", dq, h), projectBackward("k_proj", dk, h)),
    projectBackward("v_proj", attention.dv, h),
  );
  return { ...grads, dx: ops.add(dmid, ops.rmsNormBackward(dh, x, inputs.input_layernorm, eps)) };
}

/**
 * A layer's backward, of what the forward left, or `again`: of x and every t, the rest computed once more on the way, all
 * but the last product. `first`: below the first layer nothing is trained, so that its dx is left out.
 */
export function layerBackwardSegment(
  options: LayerOptions,
  { again, first }: { again: boolean; first: boolean },
): Segment {
  return {
    key: `layer_backward|${options.loraScale}${again ? "|again" : ""}${first ? "|first" : ""}`,
    consumes: ["gate", "up"],
    build(ops, inputs) {
      const saved = again ? layerForward(ops, inputs, options) : {};
      const { dx, ...grads } = layerBackward(ops, { ...inputs, ...saved }, options);
      return first ? grads : { ...grads, dx };
    },
  };
}

/**
 * Final norm, head and loss of a chunk of labelled positions, forward and backward at once so that its logits live
 * only inside. x [T, D], index and labels i32 [N], scale [D] (one number, repeated), dx [T, D] of the chunks before
 * (absent for the first) -> loss [N] in nats, dx [T, D] with this chunk's gradient times scale added.
 */
export function headSegment(config: ModelConfig): Segment {
  return {
    key: "head",
    build(ops, inputs) {
      const eps = { eps: config.rmsEps };
      const chunk = ops.gatherRows(inputs.x, inputs.index);
      const h = ops.rmsNorm(chunk, inputs.norm, eps);
      const { loss, dh } = ops.crossEntropy(h, inputs.lm_head, inputs.labels, { scale: 1 });
      const dchunk = ops.rmsNormBackward(ops.mul(dh, inputs.scale), chunk, inputs.norm, eps);
      const dx = ops.scatterRows(dchunk, inputs.index, inputs.x);
      return { loss, dx: inputs.dx ? ops.add(inputs.dx, dx) : dx };
    },
  };
}
