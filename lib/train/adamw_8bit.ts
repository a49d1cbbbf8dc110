/**
 * bitsandbytes' AdamW8bit as version 0.50 computes it on a CPU: moments as 8-bit codes of a dynamic map with one f32
 * maximum per 256 elements; tensors under 4,096 elements keep f32 moments. Decay comes before the update.
 *
 * Codes come from a table over 65,536 equal bins of [-1, 1], so a moment below 1/65536 of its block's maximum rounds to
 * the bin around 0; the library's GPU kernels search the nearest code instead. Bit for bit the same states; values
 * follow a correctly rounded square root, from which the maths library under torch deviates in the last bit on some
 * processors.
 *
 * Source: bitsandbytes backends/cpu/ops.py (_optimizer_update_8bit_blockwise_cpu, _optimizer_update_32bit_cpu).
 */
import type { Parameter } from "../model/trainable.ts";
import { codeTable, dynamicMap } from "../quant/dynamic_map.ts";
import { type AdamwKernel, adamwKernel, block, chunk, stepConstants } from "./adamw_kernel.ts";
import type { AdamwSettings, Optimizer, OptimizerState } from "./optimizer.ts";
import { copyTensors } from "./optimizer_state.ts";

/** Tensors with fewer elements keep f32 moments (bitsandbytes' min_8bit_size). */
export const smallest8bit = 4096;
/** Index of 0 in the signed map; in the unsigned one it is 0. */
const signedZero = 127;

interface Coded {
  parameter: Parameter;
  state1: Uint8Array<ArrayBuffer>;
  state2: Uint8Array<ArrayBuffer>;
  absmax1: Float32Array<ArrayBuffer>;
  absmax2: Float32Array<ArrayBuffer>;
}

interface Full {
  parameter: Parameter;
  state1: Float32Array<ArrayBuffer>;
  state2: Float32Array<ArrayBuffer>;
}

/** The scalars of a step that both kinds of tensors share. */
interface StepScalars extends AdamwSettings {
  lr: number;
  gradScale: number;
  correction1: number;
  root: number;
  decay: number;
}

export function adamw8bit(parameters: Parameter[], settings: AdamwSettings): Optimizer {
  const coded: Coded[] = [], full: Full[] = [];
  const tensors: OptimizerState["tensors"] = new Map();
  for (const parameter of parameters) {
    const { name, value: { length } } = parameter, blocks = Math.ceil(length / block);
    if (length < smallest8bit) {
      const own = { parameter, state1: new Float32Array(length), state2: new Float32Array(length) };
      full.push(own);
      tensors.set(`${name}.state1`, own.state1).set(`${name}.state2`, own.state2);
    } else {
      const own = {
        parameter,
        state1: new Uint8Array(length),
        state2: new Uint8Array(length),
        absmax1: new Float32Array(blocks),
        absmax2: new Float32Array(blocks),
      };
      coded.push(own);
      tensors.set(`${name}.state1`, own.state1).set(`${name}.state2`, own.state2)
        .set(`${name}.absmax1`, own.absmax1).set(`${name}.absmax2`, own.absmax2);
    }
  }
  let taken = 0;
  return {
    step(lr, gradScale) {
      taken++;
      const scalars = { lr, gradScale, ...settings, ...stepConstants(taken, { lr, ...settings }) };
      const kernel = adamwKernel();
      if (coded.length > 0) loadMaps(kernel);
      for (const tensor of coded) stepCoded(tensor, kernel, scalars);
      for (const tensor of full) stepFull(tensor, scalars);
    },
    state: () => ({ step: taken, tensors }),
    load(saved) {
      copyTensors(tensors, saved.tensors);
      taken = saved.step;
    },
  };
}

let maps: { map1: Float32Array; map2: Float32Array; table1: Uint8Array; table2: Uint8Array } | undefined;

function loadMaps(kernel: AdamwKernel): void {
  if (maps) return;
  const map1 = dynamicMap(true), map2 = dynamicMap(false);
  maps = { map1, map2, table1: codeTable(map1), table2: codeTable(map2) };
  kernel.map1.set(maps.map1);
  kernel.map2.set(maps.map2);
  kernel.table1.set(maps.table1);
  kernel.table2.set(maps.table2);
}

function stepCoded(tensor: Coded, kernel: AdamwKernel, scalars: StepScalars): void {
  const { parameter: { value, grad }, state1, state2, absmax1, absmax2 } = tensor;
  const { lr, gradScale, beta1, beta2, eps, correction1, root, decay } = scalars;
  for (let start = 0; start < value.length; start += chunk) {
    const end = Math.min(start + chunk, value.length), count = end - start;
    const firstBlock = start / block, lastBlock = Math.ceil(end / block), blocks = lastBlock - firstBlock;
    kernel.p.set(value.subarray(start, end));
    kernel.g.set(grad.subarray(start, end));
    kernel.codes1.set(state1.subarray(start, end));
    kernel.codes2.set(state2.subarray(start, end));
    kernel.absmax1.set(absmax1.subarray(firstBlock, lastBlock));
    kernel.absmax2.set(absmax2.subarray(firstBlock, lastBlock));
    const padded = Math.ceil(count / 4) * 4; // elements that leave the block's maxima as they are
    kernel.g.fill(0, count, padded);
    kernel.codes1.fill(signedZero, count, padded);
    kernel.codes2.fill(0, count, padded);
    kernel.adamw8bit(
      padded,
      gradScale,
      beta1,
      beta2,
      1 - beta1,
      1 - beta2,
      root,
      eps,
      -lr / correction1,
      decay,
    );
    value.set(kernel.p.subarray(0, count), start);
    state1.set(kernel.codes1.subarray(0, count), start);
    state2.set(kernel.codes2.subarray(0, count), start);
    absmax1.set(kernel.absmax1.subarray(0, blocks), firstBlock);
    absmax2.set(kernel.absmax2.subarray(0, blocks), firstBlock);
  }
}

/** p = p*decay - lr*root/correction1 * m/(sqrt(v) + eps*root), each operation in f32, `+` after a product fused. */
function stepFull(tensor: Full, scalars: StepScalars): void {
  const { parameter: { value, grad }, state1, state2 } = tensor;
  const f32 = Math.fround;
  const beta1 = f32(scalars.beta1), oneMinusBeta1 = f32(1 - scalars.beta1);
  const beta2 = f32(scalars.beta2), oneMinusBeta2 = f32(1 - scalars.beta2);
  const eps = f32(scalars.eps * scalars.root), decay = f32(scalars.decay), gradScale = f32(scalars.gradScale);
  const rate = f32((-scalars.lr * scalars.root) / scalars.correction1);
  for (let i = 0; i < value.length; i++) {
    const g = f32(grad[i] * gradScale);
    const m = f32(oneMinusBeta1 * g + f32(state1[i] * beta1));
    const v = f32(f32(oneMinusBeta2 * g) * g + f32(state2[i] * beta2));
    state1[i] = m;
    state2[i] = v;
    value[i] = f32(f32(m / f32(f32(Math.sqrt(v)) + eps)) * rate + f32(value[i] * decay));
  }
}
