/**
 * The reference runs on a real GPU: how far every loss is from PyTorch's, and how long the 30 steps take. Needs a
 * graphics card, so it is no test; limits are those a test would have.
 *
 *   deno run -A tests/bench/golden_gpu.ts [dawn|webgpu ...]
 */
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { gpuLearner } from "../../lib/webgpu/learner.ts";
import { goldenRuns, repeatGoldenRun } from "../helpers/golden_run.ts";

let failed = false;
for (const engine of (Deno.args.length > 0 ? Deno.args : ["dawn", "webgpu"]) as GpuEngine[]) {
  const gpu = await openGpu(engine);
  for (const half of [false, true]) {
    for (const name of goldenRuns) {
      const executor = createWebgpuExecutor(gpu, { half });
      const { golden, losses, answer, seconds } = await repeatGoldenRun(name, {
        executor,
        learnerOf: (parts) => gpuLearner(executor, parts),
      });
      const worst = losses.reduce((most, loss, i) => Math.max(most, Math.abs(loss / golden.loss[i] - 1)), 0);
      const same = answer.findIndex((token, i) => token !== golden.greedy_after.tokens[i]);
      const good = worst <= (half ? 1e-2 : 1e-3) && losses.length === golden.loss.length;
      failed ||= !good;
      console.log(
        `${executor.description}: ${name}: worst loss ${(100 * worst).toFixed(4)} % off, last ${
          losses.at(-1)!.toFixed(4)
        }` +
          ` (${golden.loss.at(-1)!.toFixed(4)}), greedy answer ${same < 0 ? "equal" : `differs at ${same}`}, ` +
          `${seconds.toFixed(2)} s for ${losses.length} steps: ${good ? "good" : "NOT GOOD"}`,
      );
      await executor.dispose();
    }
  }
}
Deno.exit(failed ? 1 : 0);
