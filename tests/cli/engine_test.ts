/** Which engine is chosen on which machine, and how much memory of a graphics card training may use. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { chooseEngine, type Machine } from "../../lib/cli/engine.ts";
import { gpuBudget } from "../../lib/cli/gpu_memory.ts";
import { resolveTrain } from "../../lib/cli/resolve.ts";
import { fingerprintOf, planRun } from "../../lib/cli/train_setup.ts";
import { makeExampleStore } from "../../lib/data/examples.ts";
import { openModel } from "../../lib/model/source.ts";
import type { GpuAbout, GpuEngine } from "../../lib/webgpu/device.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { gpuAbout } from "../helpers/gpu_about.ts";

const GiB = 2 ** 30;

function adapter(engine: GpuEngine, { software = false } = {}): GpuAbout {
  const name = software ? "llvmpipe" : "NVIDIA H100 80GB HBM3";
  return gpuAbout({ engine, name, software, limits: { maxBufferSize: 2 * GiB } });
}

type Offer = "hardware" | "old" | "software" | "broken" | "none";

function machineOf(offers: Record<GpuEngine, Offer>, mayHaveGpu = true) {
  const asked: GpuEngine[] = [];
  const machine: Machine = {
    mayHaveGpu: () => mayHaveGpu,
    // deno-lint-ignore require-await
    async inspect(engine) {
      asked.push(engine);
      const offer = offers[engine];
      if (offer === "broken") throw new TypeError("dlopen failed\n    at somewhere");
      if (offer === "none") throw new UserError(`The ${engine} engine finds no graphics adapter`);
      return { ...adapter(engine, { software: offer === "software" }), subgroups: offer !== "old" };
    },
  };
  return { machine, asked };
}

const choices: [what: string, offers: Record<GpuEngine, Offer>, kind: string, reason: RegExp][] = [
  ["both", { dawn: "hardware", webgpu: "hardware" }, "dawn", /^it finds NVIDIA H100 80GB HBM3$/],
  ["no native package", { dawn: "broken", webgpu: "hardware" }, "webgpu", /^dlopen failed; it finds NVIDIA/],
  [
    "software in Dawn",
    { dawn: "software", webgpu: "hardware" },
    "webgpu",
    /^Dawn finds only software \(llvmpipe\); it/,
  ],
  ["software only", { dawn: "software", webgpu: "software" }, "onnx", /only software .*; Deno's WebGPU finds only/],
  ["OpenGL only", { dawn: "none", webgpu: "old" }, "onnx", /; Deno's WebGPU finds only an old driver \(NVIDIA/],
  ["nothing", { dawn: "none", webgpu: "none" }, "onnx", /finds no graphics adapter; The webgpu engine finds no/],
  ["nothing that loads", { dawn: "broken", webgpu: "broken" }, "onnx", /^dlopen failed; dlopen failed$/],
];

for (const [what, offers, kind, reason] of choices) {
  Deno.test(`chooseEngine() of auto with ${what} takes ${kind}`, async () => {
    const chosen = await chooseEngine("auto", machineOf(offers).machine);
    assert.equal(chosen.kind, kind);
    assert.match(chosen.reason, reason);
    if (chosen.kind !== "onnx") assert.equal(chosen.about.engine, kind);
  });
}

Deno.test("chooseEngine() loads no driver where there can be no graphics card, nor for the CPU's engine", async () => {
  const { machine, asked } = machineOf({ dawn: "hardware", webgpu: "hardware" }, false);
  assert.equal((await chooseEngine("auto", machine)).kind, "onnx");
  assert.equal((await chooseEngine("onnx", machine)).kind, "onnx");
  assert.deepEqual(asked, []);
});

Deno.test("a run begun on one engine may be resumed on another", () => {
  const { settings } = resolveTrain({ flags: {} });
  const print = (engine: typeof settings.engine) =>
    fingerprintOf({ ...settings, engine, profile: engine !== "onnx" }, { examples: makeExampleStore(), model: "m" });
  assert.deepEqual(print("dawn"), print("onnx"));
});

Deno.test("chooseEngine() takes what is asked for by name, software too, or passes its refusal on", async () => {
  const { machine, asked } = machineOf({ dawn: "none", webgpu: "software" }, false);
  assert.equal((await chooseEngine("webgpu", machine)).kind, "webgpu");
  await assert.rejects(chooseEngine("dawn", machine), UserError);
  assert.deepEqual(asked, ["webgpu", "dawn"]);
  const old = machineOf({ dawn: "none", webgpu: "old" }).machine;
  await assert.rejects(chooseEngine("webgpu", old), /^UserError: Deno's WebGPU finds only an old driver \(NVIDIA/);
});

const budgets: [what: string, smi: string, wanted: number | "auto", gib: number][] = [
  ["max_memory", "NVIDIA H100 80GB HBM3, 81000, 81559", 12, 12],
  ["a card that nobody uses", "NVIDIA H100 80GB HBM3, 81079, 81559", "auto", 0.9 * 81559 / 1024],
  ["the same with a little in use", "NVIDIA H100 80GB HBM3, 78000, 81559", "auto", 0.9 * 81559 / 1024],
  ["a card half in use", "NVIDIA H100 80GB HBM3, 40000, 81559", "auto", 0.9 * 38],
  [
    "the fullest of two alike",
    "NVIDIA H100 80GB HBM3, 81079, 81559\nNVIDIA H100 80GB HBM3, 9000, 81559",
    "auto",
    0.9 * 8,
  ],
  ["another card only", "NVIDIA T4, 15000, 15360", "auto", 4],
  ["words", "NVIDIA-SMI has failed because it couldn't communicate", "auto", 4],
];

for (const [what, smi, wanted, gib] of budgets) {
  Deno.test(`gpuBudget() with ${what}`, async () => {
    const ask = () => Promise.resolve(smi);
    const { bytes } = await gpuBudget(adapter("dawn"), { wanted, ask, machine: 64 * GiB });
    assert.ok(Math.abs(bytes / GiB - gib) < 1e-6, `${bytes / GiB}`);
  });
}

Deno.test("gpuBudget() without nvidia-smi is a cautious guess", async () => {
  const ask = () => Promise.reject(new Deno.errors.NotFound("nvidia-smi"));
  const about = adapter("webgpu"), { maxBufferSize: _, ...limits } = about.limits;
  const bytes = async (maxBufferSize: number, machine: number) =>
    (await gpuBudget({ ...about, limits: { ...limits, maxBufferSize } }, { wanted: "auto", ask, machine })).bytes / GiB;
  assert.equal(await bytes(1024 * GiB, 64 * GiB), 8);
  assert.equal(await bytes(1024 * GiB, 12 * GiB), 6);
  assert.equal(await bytes(1 * GiB, 64 * GiB), 2);
});

Deno.test("planRun() for a GPU has room for what is evaluated, where that is longer than what is learnt", async () => {
  const source = openModel(`${goldenFolder}llama_tied`);
  source.close();
  const settings = { ...resolveTrain({ flags: {} }).settings, learning_rate: 1, max_memory: 1 };
  const engine = { kind: "dawn", about: adapter("dawn"), reason: "" } as const;
  const activations = async (learnt: number, evaluated: number[][]) => {
    const run = { engine, source, machine: GiB, positions: 8, lengthAt: () => learnt, evaluated };
    const plan = await planRun(settings, run);
    assert.equal(plan.rowsPerPass, 8);
    return plan.parts.activations;
  };
  const short = await activations(10, [[], [10, 10]]), long = await activations(20, []);
  assert.ok(long > 1.5 * short);
  assert.equal(await activations(10, [[], Array(9).fill(20)]), long);
  assert.equal(await activations(20, [[10], [3]]), long);
});
