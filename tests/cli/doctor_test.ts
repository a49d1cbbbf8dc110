/** `ftl doctor` on this machine, with drivers and without: it always answers, and always without a stack. */
import assert from "node:assert/strict";
import type { Findings } from "../../lib/cli/doctor.ts";
import { showFindings } from "../../lib/cli/doctor.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { gpuAbout } from "../helpers/gpu_about.ts";

/** What Vulkan's loader is told where it shall find no driver. */
const noDrivers = { VK_DRIVER_FILES: "/nowhere.json", VK_ICD_FILENAMES: "/nowhere.json" };

Deno.test("ftl doctor shows the machine, every engine and the choice", async () => {
  await inWorkplace(async ({ ftl }) => {
    const { code, stdout } = await ftl(["doctor"]);
    assert.equal(code, 0);
    assert.match(stdout, /^ftl {7}\d+\.\d+\.\d+\n\nmachine {3}\S/);
    assert.match(stdout, /^onnx {6}ONNX Runtime \d+\.\d+\.\d+ on the CPU$/m);
    for (const engine of ["dawn", "webgpu"]) assert.match(stdout, new RegExp(`^${engine} +\\S`, "m"));
    assert.match(stdout, /^auto {6}takes (onnx|dawn|webgpu) \(.+\): \S/m);
    assert.ok(!/^\s+at /m.test(stdout), stdout);
  });
});

Deno.test("ftl doctor --json is JSON with the same, also where no driver is found", async () => {
  await inWorkplace(async ({ ftl }) => {
    for (const env of [{}, noDrivers]) {
      const { code, stdout } = await ftl(["doctor", "--json"], env);
      assert.equal(code, 0);
      const { machine, engines, auto } = JSON.parse(stdout) as Findings;
      assert.ok(machine.cores > 0 && machine.memory.total > 0 && machine.cpu !== "");
      assert.ok("version" in engines.onnx, JSON.stringify(engines.onnx));
      for (const engine of [engines.dawn, engines.webgpu]) {
        if ("error" in engine) assert.match(engine.error, /^[A-Z].*[^\n]$/);
        else assert.ok(engine.limits.maxBufferSize > 0);
      }
      assert.ok(auto.reason !== "");
      if (env === noDrivers && Deno.build.os === "linux") assert.ok("error" in engines.dawn);
    }
  });
});

Deno.test({
  name: "ftl train and run refuse an engine that was asked for and is not there in one line with a hint",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await inWorkplace(async ({ ftl, list }) => {
      for (const args of [tinyTraining, ["run", "model", "hello"]]) {
        const { code, stderr } = await ftl([...args, "--engine", "dawn"], noDrivers);
        assert.equal(code, 1);
        assert.match(stderr, /^ftl: The dawn engine finds no graphics adapter\n {2}try: .+\n$/m);
        assert.ok(!/^\s+at .*\.ts/m.test(stderr), stderr);
      }
      assert.deepEqual(list("runs"), []);
    });
  },
});

Deno.test("showFindings() says what is missing and what to do about it", () => {
  const text = showFindings({
    version: "1.2.3",
    machine: {
      system: "A system",
      arch: "x86_64",
      cpu: "A processor",
      cores: 4,
      vectors: ["AVX2", "FMA"],
      memory: { total: 8 * 2 ** 30, available: 3 * 2 ** 29, limited: true },
      speed: { gflops: 150, gbs: 9.5 },
    },
    folders: {
      cache: { path: "cache", models: ["a", "b", "c", "d"], weights: 2 ** 30, free: 5 * 2 ** 30 },
      huggingFace: { path: "hub" },
    },
    engines: {
      onnx: { version: "1.30.0" },
      dawn: { error: "Cannot use the dawn engine: no such file", hint: "Use another." },
      webgpu: gpuAbout(),
    },
    auto: { engine: "webgpu", reason: "it finds A card", memory: { bytes: 5 * 2 ** 30, reason: "free" } },
  });
  assert.equal(
    text,
    `ftl       1.2.3

machine   A system
          A processor, x86_64, 4 cores, AVX2 FMA
          8.0 GiB memory (what this container may use), 1.5 GiB free
          products 150 GFLOP/s, memory 9.5 GB/s (copied)

folders   cache: a, b, c and 1 more, 1.0 GiB of prepared weights; 5.0 GiB free on that disk
          hub: not there

onnx      ONNX Runtime 1.30.0 on the CPU
          answers: WebAssembly SIMD, 4 threads

dawn      Cannot use the dawn engine: no such file
          try: Use another.

webgpu    Deno's WebGPU on A card
          vendor nvidia
          f16 yes, tensor cores no, subgroups yes of 32 lanes, timestamps yes
          largest buffer 1024 GiB, largest binding 0.125 GiB

auto      takes webgpu (Deno's WebGPU): it finds A card
          training may use 5.0 GiB: free`,
  );
});
