/** What an adapter says of itself, where a test needs one without a driver. */
import type { GpuAbout, GpuLimits } from "../../lib/webgpu/device.ts";

/** A graphics card without tensor cores, but for what the test is about. */
export function gpuAbout(
  { limits, ...changes }: Partial<Omit<GpuAbout, "limits">> & { limits?: Partial<GpuLimits> } = {},
): GpuAbout {
  return {
    ...{ engine: "webgpu", name: "A card", vendor: "nvidia", driver: "", software: false },
    ...{ f16: true, subgroups: true, subgroupSize: { min: 32, max: 32 }, matrix: false, timestamps: true },
    limits: {
      ...{ maxBufferSize: 2 ** 40, maxStorageBufferBindingSize: 2 ** 27 },
      ...{ maxComputeWorkgroupStorageSize: 0, maxComputeInvocationsPerWorkgroup: 0, maxComputeWorkgroupSizeX: 0 },
      ...{ maxComputeWorkgroupsPerDimension: 0, maxStorageBuffersPerShaderStage: 0 },
      ...limits,
    },
    features: [],
    ...changes,
  };
}
