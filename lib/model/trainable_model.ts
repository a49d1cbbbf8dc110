/**
 * A decoder with LoRA on it as the training loop sees it: batches in, losses and gradients out. Runs the segments of
 * forward.ts and backward.ts on any executor and decides nothing but the order; how many layers keep their values for
 * the backward (the others are computed again, gradient checkpointing) is given by the memory plan.
 */
import type { Executor, Value } from "../ops.ts";
import { headSegment, layerBackwardSegment } from "./backward.ts";
import { type Batch, batchValues, makeBatch } from "./batch.ts";
import type { ModelConfig } from "./config.ts";
import { adaptedNorm, inputName } from "./adapter.ts";
import { dropoutMasks } from "./dropout.ts";
import { embedSegment, type LayerOptions, layerSegment, lossSegment } from "./forward.ts";
import { parsePeftName } from "./names.ts";
import type { Parameter, Row, RowLoss, Trainable } from "./trainable.ts";
import type { LoadedWeights } from "./weights.ts";

export interface TrainableOptions {
  executor: Executor;
  config: ModelConfig;
  weights: LoadedWeights;
  parameters: Parameter[];
  /** alpha/r, or alpha/sqrt(r) with rsLoRA. */
  loraScale: number;
  /** Probability of dropping an input of a LoRA branch while training. */
  loraDropout?: number;
  /** Layers, counted from the last, that keep their values for the backward. 0 is full gradient checkpointing. */
  keepLayers: number;
  /** Labelled positions whose logits exist at one time. */
  headChunk?: number;
}

/** One batch on its way through the model. */
interface Pass {
  batch: Batch;
  /** What layer l reads: weights, LoRA, positions, dropout masks, and its input x. */
  layer(l: number, x: Value): Record<string, Value>;
}

export function makeTrainable(options: TrainableOptions): Trainable {
  const { executor, config, weights, parameters, keepLayers } = options;
  const layerOptions: LayerOptions = { config, loraScale: options.loraScale };
  const segments = {
    embed: embedSegment(config),
    forward: layerSegment(layerOptions),
    backward: layerBackwardSegment(layerOptions),
    head: headSegment(config),
    loss: lossSegment(config),
  };
  const headChunk = options.headChunk ?? 128;
  const layers = weights.layers.map((layer) => ({ ...layer }));
  const gradients: Record<string, { value: Value; parameter: Parameter }>[] = layers.map(() => ({}));
  for (const parameter of parameters) {
    const place = parsePeftName(parameter.name);
    if (!place) throw new Error(`not a LoRA parameter: ${parameter.name}`);
    const { layer } = place, name = inputName(place.projection, place.part);
    layers[layer][name] = executor.tensor(parameter.value, parameter.shape);
    gradients[layer][`${name}.grad`] = { value: executor.tensor(parameter.grad, parameter.shape), parameter };
  }

  function makePass(rows: Row[], dropoutSeed?: number): Pass {
    const batch = makeBatch(rows), values = batchValues(executor, batch, config);
    const tokens = batch.tokens.length, { loraDropout: p = 0 } = options;
    return {
      batch,
      layer: (l, x) => ({
        ...layers[l],
        ...(config.layerTypes[l] === "sliding" ? values.sliding : values.full),
        ...(p > 0 && dropoutSeed !== undefined
          ? dropoutMasks({ executor, layer: l, inputs: layers[l], tokens, p, seed: dropoutSeed })
          : {}),
        x,
      }),
    };
  }

  async function embed(batch: Batch): Promise<Value> {
    const tokens = executor.tensor(batch.tokens, [batch.tokens.length]);
    return (await executor.run(segments.embed, { embed_tokens: weights.embed_tokens, tokens })).x;
  }

  /** Chunks of labelled positions of nearly one size, as inputs of the head. */
  function* labelChunks(batch: Batch) {
    const count = batch.labelled.length, size = Math.ceil(count / Math.ceil(count / headChunk));
    for (let start = 0; start < count; start += size) {
      const end = Math.min(start + size, count);
      const shape = [end - start];
      yield {
        start,
        inputs: {
          index: executor.tensor(batch.labelled.slice(start, end), shape),
          labels: executor.tensor(batch.labels.slice(start, end), shape),
          norm: weights.norm,
          lm_head: weights.lm_head,
        },
      };
    }
  }

  async function addLosses(losses: RowLoss[], batch: Batch, { start, loss }: { start: number; loss: Value }) {
    const values = await executor.read(loss);
    for (let i = 0; i < values.length; i++) {
      const row = losses[batch.labelRow[start + i]];
      row.loss += values[i];
      row.targets++;
    }
    executor.release(loss);
  }

  /** DoRA: norms of the rows of W + s*B*A as they are now. */
  async function refreshNorms(): Promise<void> {
    for (const layer of layers) {
      for (const name of Object.keys(layer).filter((key) => key.endsWith(".magnitude"))) {
        const module = name.slice(0, -".magnitude".length);
        const norm = await adaptedNorm(executor, {
          weight: layer[module],
          a: layer[`${module}.lora_A`],
          b: layer[`${module}.lora_B`],
          scale: options.loraScale,
        });
        if (layer[`${module}.norm`]) executor.release(layer[`${module}.norm`]);
        layer[`${module}.norm`] = norm;
      }
    }
  }

  /** Runs the layers from x on. Returns every layer's input, what it keeps for the backward, and the last y. */
  async function forwardPass(pass: Pass): Promise<{ inputs: Value[]; kept: Record<string, Value>[]; y: Value }> {
    const inputs: Value[] = [], kept: Record<string, Value>[] = [];
    let x = await embed(pass.batch);
    for (let l = 0; l < config.layers; l++) {
      inputs.push(x);
      const outputs = await executor.run(segments.forward, pass.layer(l, x));
      const keeps = l >= config.layers - keepLayers;
      if (!keeps) executor.release(...withoutY(outputs));
      kept.push(keeps ? outputs : {});
      x = outputs.y;
    }
    return { inputs, kept, y: x };
  }

  /** Losses of the labelled positions of y, and its gradient times `scale`; no gradient when no row has a target. */
  async function headPass(pass: Pass, y: Value, scale: number): Promise<{ losses: RowLoss[]; dy?: Value }> {
    const losses = noLosses(pass.batch);
    const factor = executor.tensor(new Float32Array(config.hiddenSize).fill(scale), [config.hiddenSize]);
    let dy: Value | undefined;
    for (const { start, inputs } of labelChunks(pass.batch)) {
      const before: Record<string, Value> = dy ? { dx: dy } : {};
      const { loss, dx } = await executor.run(segments.head, { ...inputs, ...before, x: y, scale: factor });
      if (dy) executor.release(dy);
      dy = dx;
      await addLosses(losses, pass.batch, { start, loss });
    }
    executor.release(y);
    return { losses, dy };
  }

  /** The layers backwards from dy, each leaving its parameters' gradients. Releases everything it is given. */
  async function backwardPass(
    pass: Pass,
    { inputs, kept, dy, first }: { inputs: Value[]; kept: Record<string, Value>[]; dy: Value; first: boolean },
  ): Promise<void> {
    for (let l = config.layers - 1; l >= 0; l--) {
      const layer = pass.layer(l, inputs[l]);
      if (l < config.layers - keepLayers) {
        kept[l] = await executor.run(segments.forward, layer);
        executor.release(kept[l].y);
      }
      const into = first ? Object.fromEntries(Object.entries(gradients[l]).map(([name, g]) => [name, g.value])) : {};
      const outputs = await executor.run(segments.backward, { ...layer, ...saved(kept[l]), dy }, into);
      executor.release(dy, inputs[l], ...withoutY(kept[l]));
      dy = outputs.dx;
      if (!first) await addGradients(executor, outputs, gradients[l]);
    }
    executor.release(dy);
  }

  async function accumulate(
    rows: Row[],
    { scale, first, dropoutSeed }: { scale: number; first: boolean; dropoutSeed?: number },
  ): Promise<RowLoss[]> {
    await refreshNorms();
    const pass = makePass(rows, dropoutSeed);
    const { inputs, kept, y } = await forwardPass(pass);
    const { losses, dy } = await headPass(pass, y, scale);
    if (dy) await backwardPass(pass, { inputs, kept, dy, first });
    else {
      executor.release(...inputs, ...kept.flatMap(withoutY));
      if (first) parameters.forEach(({ grad }) => grad.fill(0));
    }
    return losses;
  }

  async function evaluate(rows: Row[]): Promise<RowLoss[]> {
    await refreshNorms();
    const pass = makePass(rows), losses = noLosses(pass.batch);
    let x = await embed(pass.batch);
    for (let l = 0; l < config.layers; l++) {
      const outputs = await executor.run(segments.forward, pass.layer(l, x));
      executor.release(x, ...withoutY(outputs));
      x = outputs.y;
    }
    for (const { start, inputs } of labelChunks(pass.batch)) {
      const { loss } = await executor.run(segments.loss, { ...inputs, x });
      await addLosses(losses, pass.batch, { start, loss });
    }
    executor.release(x);
    return losses;
  }

  return { parameters, accumulate, evaluate };
}

function noLosses({ count }: Batch): RowLoss[] {
  return Array.from({ length: count }, () => ({ loss: 0, targets: 0 }));
}

/** What the backward reads: all a layer kept but its y, which is the next layer's x. */
function saved(outputs: Record<string, Value>): Record<string, Value> {
  const { y: _, ...rest } = outputs;
  return rest;
}

function withoutY(outputs: Record<string, Value>): Value[] {
  return Object.values(saved(outputs));
}

/** Adds a pass's gradients to those before, for windows of several passes. */
async function addGradients(
  executor: Executor,
  outputs: Record<string, Value>,
  gradients: Record<string, { parameter: Parameter }>,
): Promise<void> {
  for (const [name, { parameter }] of Object.entries(gradients)) {
    const added = await executor.read(outputs[name]), { grad } = parameter;
    for (let i = 0; i < grad.length; i++) grad[i] += added[i];
    executor.release(outputs[name]);
  }
}
