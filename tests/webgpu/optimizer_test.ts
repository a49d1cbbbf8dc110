/**
 * The optimisers on a GPU against those on the CPU: values and states step by step, the norm, clipping, refusal of what
 * is not finite, and a run that changes sides. All memory is poisoned with NaN before.
 */
import assert from "node:assert/strict";
import type { Parameter } from "../../lib/model/trainable.ts";
import { dynamicMap } from "../../lib/quant/dynamic_map.ts";
import { clipFactor, gradientNorm } from "../../lib/train/gradient_norm.ts";
import { defaultAdamw, makeOptimizer, type OptimizerName, type OptimizerState } from "../../lib/train/optimizer.ts";
import { type Commands, type GpuTensor, makeCommands, tensorBytes } from "../../lib/webgpu/commands.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import type { Dtype } from "../../lib/webgpu/dispatch.ts";
import { type GpuOptimizer, type GpuOptimizerOptions, makeGpuOptimizer } from "../../lib/webgpu/optimizer.ts";
import { assertClose } from "../helpers/close.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, halved } from "../helpers/webgpu.ts";

const kinds: OptimizerName[] = ["adamw_8bit", "adamw_torch"];
const sizes = [1, 4096, 300, 10_000];
const settings = { ...defaultAdamw, weightDecay: 0.1 };

function makeParameters(sizes: number[]): Parameter[] {
  return sizes.map((size, i) => ({
    name: `p${size}`,
    shape: [size],
    value: randomFloats(size, i),
    grad: new Float32Array(size),
  }));
}

/** Gradients over five decades; with a block that has none. */
function fillGradients(parameters: Parameter[], seed: number): void {
  parameters.forEach(({ grad }, k) => {
    const random = randomFloats(grad.length, 100 * seed + k);
    grad.set(random.map((x, i) => x * 10 ** (-5 * Math.abs(Math.sin(i + seed)))));
    if (seed < 3) grad.fill(0, 256, 700);
  });
}

interface OnGpu extends GpuOptimizer {
  commands: Commands;
  /** One step from the parameters' gradients, times 1 / unscale. */
  take(options: { lr: number; maxGradNorm?: number; unscale?: number }): Promise<{ gradNorm: number; finite: boolean }>;
}

function onGpu(
  gpu: Gpu,
  parameters: Parameter[],
  options: Partial<GpuOptimizerOptions> & { kind: OptimizerName },
): OnGpu {
  const commands = makeCommands(gpu);
  const allocate = (shape: readonly number[], dtype: Dtype): GpuTensor => {
    const bytes = tensorBytes(shape, dtype);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const tensor = { shape, dtype, buffer: gpu.device.createBuffer({ size: bytes, usage }), offset: 0, bytes };
    commands.write(tensor, new Uint32Array(bytes / 4).fill(0x7fff7fff));
    return tensor;
  };
  const { maxStorageBufferBindingSize: maxBinding } = gpu.limits;
  const made = { commands, allocate, maxBinding, parameters, settings, halfCopy: false, ...options };
  const optimizer = makeGpuOptimizer(made);
  return {
    ...optimizer,
    commands,
    async take({ lr, maxGradNorm = 0, unscale = 1 }) {
      parameters.forEach(({ grad }, i) =>
        commands.write(optimizer.placeOf(i).grad, Float32Array.from(grad, (x) => x / unscale))
      );
      optimizer.encodeStep({ learningRate: lr, maxGradNorm, unscale });
      const [control] = await commands.read([optimizer.control]);
      return optimizer.finishStep(new Float32Array(control));
    },
  };
}

const cloneState = ({ step, tensors }: OptimizerState): OptimizerState => ({
  step,
  tensors: new Map(Array.from(tensors, ([name, data]) => [name, data.slice()])),
});

const maps = { state1: dynamicMap(true), state2: dynamicMap(false) };

/** States agree up to rounding; a code may be that of the next bin where a moment lies on the edge of one. */
function assertStates(actual: OptimizerState, expected: OptimizerState, what: string): number {
  let other = 0;
  assert.equal(actual.step, expected.step);
  assert.deepEqual([...actual.tensors.keys()], [...expected.tensors.keys()]);
  for (const [name, tensor] of expected.tensors) {
    const found = actual.tensors.get(name)!;
    if (tensor instanceof Float32Array) {
      assertClose(found, tensor, { rtol: 2e-6, what: `${what}: ${name}` });
      continue;
    }
    const map = maps[name.slice(-6) as "state1" | "state2"];
    tensor.forEach((code, i) => {
      if (found[i] === code) return;
      other++;
      const apart = Math.abs(map[found[i]] - map[code]), next = Math.abs(found[i] - code) === 1;
      assert.ok(next || apart <= 2 / 65_535, `${what}: ${name}[${i}] is code ${found[i]}, expected ${code}`);
    });
  }
  return other;
}

for (const kind of kinds) {
  gpuTest(`${kind} takes every step as on the CPU, with clipping and a scaled loss`, async (gpu) => {
    const mine = makeParameters(sizes), theirs = makeParameters(sizes);
    const optimizer = onGpu(gpu, mine, { kind, halfCopy: true });
    const cpu = makeOptimizer(kind, theirs, settings);
    let other = 0;
    for (let t = 1; t <= 8; t++) {
      const lr = 0.01 / t, maxGradNorm = [1, 1e3, 0][t % 3];
      fillGradients(mine, t);
      fillGradients(theirs, t);
      const norm = gradientNorm(theirs);
      cpu.step(lr, clipFactor(norm, maxGradNorm));
      const { gradNorm, finite } = await optimizer.take({ lr, maxGradNorm, unscale: 2 ** -14 });
      await optimizer.pull();
      assert.ok(finite);
      assertClose([gradNorm], [norm], { rtol: 1e-6, what: `norm of step ${t}` });
      for (const [i, { name, value }] of mine.entries()) {
        // Rounding of the value itself, and a few of the update.
        assertClose(value, theirs[i].value, { rtol: 2.5e-7, atol: 1e-5 * lr, what: `${name}, step ${t}` });
      }
      other += assertStates(optimizer.state(), cpu.state(), `step ${t}`);
      const half = new Float16Array((await optimizer.commands.read([optimizer.half!]))[0]);
      for (const [i, { name, value }] of mine.entries()) {
        const at = optimizer.offsetOf(i), copy = Float32Array.from(half.subarray(at, at + value.length));
        assertClose(copy, halved(value), { rtol: 0, atol: 0, what: `f16 copy of ${name}` });
      }
      // The next step starts from the same state, so that only its own rounding is compared.
      mine.forEach(({ value }, i) => value.set(theirs[i].value));
      optimizer.load(cloneState(cpu.state()));
      optimizer.push();
    }
    if (kind === "adamw_8bit") assert.ok(other < 8 * 2 * 14_096 * 2e-3, `${other} codes differ`);
  });

  gpuTest(`${kind} stays with the CPU over 10 steps on its own, and a run changes sides`, async (gpu) => {
    const mine = makeParameters(sizes), theirs = makeParameters(sizes);
    let optimizer = onGpu(gpu, mine, { kind });
    const cpu = makeOptimizer(kind, theirs, settings), lr = 1e-3;
    for (let t = 1; t <= 10; t++) {
      fillGradients(mine, t);
      fillGradients(theirs, t);
      cpu.step(lr, 1);
      if (t === 5) {
        // The GPU's state goes on on the CPU for a step, and back on a fresh optimiser.
        await optimizer.pull();
        const middle = makeOptimizer(kind, mine, settings);
        middle.load(cloneState(optimizer.state()));
        middle.step(lr, 1);
        optimizer = onGpu(gpu, mine, { kind });
        optimizer.load(cloneState(middle.state()));
        optimizer.push();
      } else await optimizer.take({ lr });
    }
    await optimizer.pull();
    assert.equal(optimizer.state().step, 10);
    for (const [i, { name, value }] of mine.entries()) {
      const errors = value.map((x, j) => Math.abs(x - theirs[i].value[j]));
      // A moment that got the code of the next bin changes an update by some percent; few do.
      const off = errors.filter((error) => error > 1e-6).length;
      assert.ok(errors.every((error) => error <= lr), `${name}: ${errors.reduce((a, b) => Math.max(a, b), 0)}`);
      assert.ok(off <= value.length * (kind === "adamw_8bit" ? 0.02 : 0), `${name}: ${off} values differ`);
    }
  });

  for (const [what, bad] of [["NaN", NaN], ["Infinity", -Infinity]] as const) {
    gpuTest(`${kind} changes nothing where a gradient is ${what}`, async (gpu) => {
      const parameters = makeParameters(sizes);
      const optimizer = onGpu(gpu, parameters, { kind });
      const snapshot = async () => {
        await optimizer.pull();
        return { values: parameters.map(({ value }) => value.slice()), state: cloneState(optimizer.state()) };
      };
      fillGradients(parameters, 4);
      await optimizer.take({ lr: 0.01 });
      const before = await snapshot();
      for (const i of sizes.keys()) {
        fillGradients(parameters, 5);
        parameters[i].grad[sizes[i] - 1] = bad;
        const result = await optimizer.take({ lr: 0.01, maxGradNorm: 1 });
        assert.deepEqual(result, { gradNorm: NaN, finite: false });
        assert.deepEqual(await snapshot(), before);
      }
      fillGradients(parameters, 6);
      assert.ok((await optimizer.take({ lr: 0.01 })).finite);
      assert.equal(optimizer.state().step, 2);
    });
  }

  gpuTest(`${kind} gives the same bits in parts and twice over`, async (gpu) => {
    const run = async (maxBinding?: number) => {
      const parameters = makeParameters([40_000, 3000, 70_000, 5]);
      const optimizer = onGpu(gpu, parameters, maxBinding ? { kind, maxBinding } : { kind });
      for (let t = 1; t <= 3; t++) {
        fillGradients(parameters, t);
        await optimizer.take({ lr: 0.01 });
      }
      await optimizer.pull();
      return { values: parameters.map(({ value }) => value), state: optimizer.state() };
    };
    const whole = await run();
    assert.deepEqual(await run(), whole);
    assert.deepEqual(await run(64 * 1024), whole);
  });
}

gpuTest("push() and pull() move values and states without a change", async (gpu) => {
  for (const kind of kinds) {
    const parameters = makeParameters(sizes), cpu = makeOptimizer(kind, parameters, settings);
    for (let t = 1; t <= 3; t++) {
      fillGradients(parameters, t);
      cpu.step(0.01, 1);
    }
    const values = parameters.map(({ value }) => value.slice());
    const optimizer = onGpu(gpu, parameters, { kind });
    optimizer.load(cloneState(cpu.state()));
    optimizer.push();
    for (const { value } of parameters) value.fill(NaN);
    for (const tensor of optimizer.state().tensors.values()) tensor.fill(1);
    await optimizer.pull();
    assert.deepEqual(parameters.map(({ value }) => value), values);
    assert.deepEqual(optimizer.state(), cpu.state());
  }
});

gpuTest("the norm of many gradients is exact to a few roundings, and tiny scales do not overflow", async (gpu) => {
  const parameters = makeParameters([1_200_003, 7]);
  const optimizer = onGpu(gpu, parameters, { kind: "adamw_8bit" });
  parameters.forEach(({ grad }, i) => grad.set(randomFloats(grad.length, 40 + i)));
  const { gradNorm } = await optimizer.take({ lr: 0, unscale: 2 ** -70 });
  assertClose([gradNorm], [gradientNorm(parameters)], { rtol: 1e-6 });
  const [control] = await optimizer.commands.read([optimizer.control]);
  assert.deepEqual([...new Float32Array(control, 0, 4)].slice(1), [1, 1, 2 ** -70]);
});
