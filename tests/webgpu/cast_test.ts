import { assertClose } from "../helpers/close.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, halved, input, output, runDispatches } from "../helpers/webgpu.ts";
import { cast } from "../../lib/webgpu/elementwise_kernels.ts";

gpuTest("cast() rounds f32 to f16 as Float16Array does", async (gpu) => {
  const data = randomFloats(1003, 1), x = input([17, 59], data), y = output([17, 59], "f16");
  const [found] = await runDispatches(gpu, [cast(x, y)], [y]);
  assertClose(found as Float32Array, halved(data), { rtol: 0, atol: 0 });
});
