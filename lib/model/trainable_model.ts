/**
 * A decoder with LoRA on it as the training loop sees it: batches in, losses and gradients out. Runs the segments of
 * forward.ts and backward.ts on any executor and decides nothing but the order; how many layers keep their values for
 * the backward (the others are computed again, gradient checkpointing) is given by the memory plan.
 */
import type { Executor, Segment, Value } from "../ops.ts";
import { headSegment, layerBackwardSegment } from "./backward.ts";
import { type Batch, batchValues, makeBatch, releaseBatch } from "./batch.ts";
import type { ModelConfig } from "./config.ts";
import { adaptedNorm, inputName } from "./adapter.ts";
import { dropoutMasks } from "./dropout.ts";
import { embedSegment, type LayerOptions, layerSegment, lossSegment } from "./forward.ts";
import { parsePeftName } from "./names.ts";
import type { Parameter, PendingLosses, Row, RowLoss, Trainable } from "./trainable.ts";
import type { LoadedWeights } from "./weights.ts";

export interface TrainableOptions {
  executor: Executor;
  config: ModelConfig;
  weights: LoadedWeights;
  parameters: Parameter[];
  /** Where the value and the gradient of parameter i lie; default: in its own arrays, as values of the executor. */
  placeOf?: (i: number) => ParameterPlace;
  /** alpha/r, or alpha/sqrt(r) with rsLoRA. */
  loraScale: number;
  /** Probability of dropping an input of a LoRA branch while training. */
  loraDropout?: number;
  /** Layers, counted from the last, that keep their values for the backward. 0 is full gradient checkpointing. */
  keepLayers: number;
  /** Labelled positions whose logits exist at one time. */
  headChunk?: number;
}

export interface ParameterPlace {
  value: Value;
  grad: Value;
}

/** One batch on its way through the model. */
interface Pass {
  batch: Batch;
  /** What layer l reads: weights, LoRA, positions, and its input x; with dropout masks, to be released after use. */
  layer(l: number, x: Value): { inputs: Record<string, Value>; masks: Value[] };
  /** Gives back what the batch holds. */
  end(): void;
}

/** Losses of some labelled positions, from `start` on. */
interface LossChunk {
  start: number;
  loss: Value;
}

export function makeTrainable(options: TrainableOptions): Trainable {
  const { executor, config, weights, parameters, keepLayers } = options;
  const layerOptions: LayerOptions = { config, loraScale: options.loraScale };
  const segments = {
    embed: embedSegment(config),
    forward: layerSegment(layerOptions),
    head: headSegment(config),
    loss: lossSegment(config),
  };
  const keeps = (layer: number) => layer >= config.layers - keepLayers;
  /** By layer: of what it kept, or computing that again. */
  const backwards = Array.from(
    { length: config.layers },
    (_, l) => layerBackwardSegment(layerOptions, { again: !keeps(l), first: l === 0 }),
  );
  const headChunk = options.headChunk ?? 128;
  const layers = weights.layers.map((layer) => ({ ...layer }));
  /** By layer, the places of gradients by the backward's names for them. */
  const gradients: Record<string, Value>[] = layers.map(() => ({}));
  const { placeOf = (i: number) => hostPlace(executor, parameters[i]) } = options;
  const places = parameters.map((parameter, i) => {
    const named = parsePeftName(parameter.name);
    if (!named) throw new Error(`not a LoRA parameter: ${parameter.name}`);
    const { layer } = named, name = inputName(named.projection, named.part), place = placeOf(i);
    layers[layer][name] = place.value;
    gradients[layer][`${name}.grad`] = place.grad;
    return place;
  });

  function makePass(rows: Row[], dropoutSeed?: number): Pass {
    const batch = makeBatch(rows), values = batchValues(executor, batch, config);
    const tokens = batch.tokens.length, { loraDropout: p = 0 } = options;
    return {
      batch,
      layer(l, x) {
        const masks = p > 0 && dropoutSeed !== undefined
          ? dropoutMasks({ executor, layer: l, inputs: layers[l], tokens, p, seed: dropoutSeed })
          : {};
        const shared = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
        return { inputs: { ...layers[l], ...shared, ...masks, x }, masks: Object.values(masks) };
      },
      end: () => releaseBatch(executor, values),
    };
  }

  async function embed(batch: Batch): Promise<Value> {
    const tokens = executor.tensor(batch.tokens, [batch.tokens.length], "tokens");
    const { x } = await executor.run(segments.embed, { embed_tokens: weights.embed_tokens, tokens });
    executor.release(tokens);
    return x;
  }

  /**
   * Runs the head or the loss on chunks of labelled positions of nearly one size, one after the other. `more` are
   * inputs beside the chunk's own.
   */
  async function eachChunk(
    batch: Batch,
    segment: Segment,
    { more, use }: { more: () => Record<string, Value>; use: (outputs: Record<string, Value>) => void },
  ): Promise<LossChunk[]> {
    const { norm, lm_head } = weights, chunks: LossChunk[] = [];
    const count = batch.labelled.length, size = Math.ceil(count / Math.ceil(count / headChunk));
    for (let start = 0; start < count; start += size) {
      const end = Math.min(start + size, count), shape = [end - start];
      const index = executor.tensor(batch.labelled.slice(start, end), shape, "labels");
      const labels = executor.tensor(batch.labels.slice(start, end), shape, "labels");
      const outputs = await executor.run(segment, { index, labels, norm, lm_head, ...more() });
      executor.release(index, labels);
      chunks.push({ start, loss: outputs.loss });
      use(outputs);
    }
    return chunks;
  }

  /** The losses of a pass by row, once they are read. */
  function pendingLosses(batch: Batch, chunks: LossChunk[]): PendingLosses {
    const values = chunks.map(({ loss }) => loss);
    const take = (read: Float32Array[]) => {
      const losses = Array.from({ length: batch.count }, (): RowLoss => ({ loss: 0, targets: 0 }));
      for (const [c, { start }] of chunks.entries()) {
        for (let i = 0; i < read[c].length; i++) {
          const row = losses[batch.labelRow[start + i]];
          row.loss += read[c][i];
          row.targets++;
        }
      }
      executor.release(...values);
      return losses;
    };
    return { values, take, read: async () => take(await executor.readAll(values)) };
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

  /**
   * Runs the layers from x on. Returns every layer's input, packed where the layer is computed again, what it keeps for
   * the backward, and the last y.
   */
  async function forwardPass(pass: Pass): Promise<{ inputs: Value[]; kept: Record<string, Value>[]; y: Value }> {
    const inputs: Value[] = [], kept: Record<string, Value>[] = [];
    let x = await embed(pass.batch);
    for (let l = 0; l < config.layers; l++) {
      const layer = pass.layer(l, x), outputs = await executor.run(segments.forward, layer.inputs);
      executor.release(...layer.masks);
      const all = saved(outputs), { small, large } = bySize(all);
      if (!keeps(l)) executor.release(...Object.values(large));
      kept.push(keeps(l) ? all : small);
      inputs.push(keeps(l) ? x : packed(executor, x));
      x = outputs.y;
    }
    return { inputs, kept, y: x };
  }

  /** Losses of the labelled positions of y, and its gradient times `scale`; no gradient when no row has a target. */
  async function headPass(
    pass: Pass,
    { y, scale: factor }: { y: Value; scale: number },
  ): Promise<{ losses: PendingLosses; dy?: Value }> {
    const scale = executor.tensor(new Float32Array(config.hiddenSize).fill(factor), [config.hiddenSize]);
    let dy: Value | undefined;
    const chunks = await eachChunk(pass.batch, segments.head, {
      more: () => ({ ...dy ? { dx: dy } : {}, x: y, scale }),
      use({ dx }) {
        if (dy) executor.release(dy);
        dy = dx;
      },
    });
    executor.release(y, scale);
    return { losses: pendingLosses(pass.batch, chunks), dy };
  }

  /** The layers backwards from dy, each leaving its parameters' gradients. Releases everything it is given. */
  async function backwardPass(
    pass: Pass,
    { inputs, kept, dy, first }: { inputs: Value[]; kept: Record<string, Value>[]; dy: Value; first: boolean },
  ): Promise<void> {
    for (let l = config.layers - 1; l >= 0; l--) {
      if (!keeps(l)) inputs[l] = unpacked(executor, inputs[l]);
      const layer = pass.layer(l, inputs[l]);
      const read = { ...layer.inputs, ...kept[l], dy };
      const outputs = await executor.run(backwards[l], read, first ? gradients[l] : {});
      executor.release(dy, inputs[l], ...layer.masks, ...Object.values(kept[l]));
      dy = outputs.dx;
      if (first) continue;
      for (const [name, sum] of Object.entries(gradients[l])) {
        executor.accumulate(sum, outputs[name]);
        executor.release(outputs[name]);
      }
    }
  }

  async function accumulate(
    rows: Row[],
    { scale, first, dropoutSeed }: { scale: number; first: boolean; dropoutSeed?: number },
  ): Promise<PendingLosses> {
    await refreshNorms();
    const pass = makePass(rows, dropoutSeed);
    const { inputs, kept, y } = await forwardPass(pass);
    const { losses, dy } = await headPass(pass, { y, scale });
    if (dy) await backwardPass(pass, { inputs, kept, dy, first });
    else {
      executor.release(...inputs, ...kept.flatMap(Object.values));
      if (first) places.forEach(({ grad }, i) => executor.write(grad, new Float32Array(parameters[i].value.length)));
    }
    pass.end();
    return losses;
  }

  async function evaluate(rows: Row[]): Promise<RowLoss[]> {
    await refreshNorms();
    const pass = makePass(rows);
    let x = await embed(pass.batch);
    for (let l = 0; l < config.layers; l++) {
      const outputs = await executor.run(segments.forward, pass.layer(l, x).inputs);
      executor.release(x, ...Object.values(saved(outputs)));
      x = outputs.y;
    }
    const chunks = await eachChunk(pass.batch, segments.loss, { more: () => ({ x }), use: () => {} });
    executor.release(x);
    pass.end();
    return await pendingLosses(pass.batch, chunks).read();
  }

  return { parameters, accumulate, evaluate };
}

function hostPlace(executor: Executor, { value, grad, shape }: Parameter): ParameterPlace {
  return { value: executor.tensor(value, shape), grad: executor.tensor(grad, shape) };
}

/** x in the form in which it waits for the backward; x itself is released where that is another. */
function packed(executor: Executor, x: Value): Value {
  if (!executor.pack) return x;
  const small = executor.pack(x);
  executor.release(x);
  return small;
}

/** The reverse. */
function unpacked(executor: Executor, small: Value): Value {
  if (!executor.unpack) return small;
  const x = executor.unpack(small);
  executor.release(small);
  return x;
}

/** What the backward reads: all a layer kept but its y, which is the next layer's x. */
function saved(outputs: Record<string, Value>): Record<string, Value> {
  const { y: _, ...rest } = outputs;
  return rest;
}

/** LoRA's t, of rank columns, which every layer keeps, and the rest. */
function bySize(values: Record<string, Value>): { small: Record<string, Value>; large: Record<string, Value> } {
  const entries = Object.entries(values), isSmall = ([name]: [string, Value]) => name.endsWith(".t");
  return {
    small: Object.fromEntries(entries.filter(isSmall)),
    large: Object.fromEntries(entries.filter((entry) => !isSmall(entry))),
  };
}
