/**
 * GPU devices: Deno's own WebGPU and Dawn (npm webgpu), one API. Asks the adapter for what the kernels can use (f16,
 * subgroups, tensor cores, timestamps) and for its real limits; nothing is assumed. The only file that touches
 * navigator.gpu and npm webgpu.
 */
import { UserError } from "../errors.ts";
import type { KernelTarget } from "./dispatch.ts";

/** "webgpu" is what Deno brings along, "dawn" the npm package webgpu. */
export type GpuEngine = "webgpu" | "dawn";

/** What an adapter says of itself. */
export interface GpuAbout {
  engine: GpuEngine;
  /** "NVIDIA H100 80GB HBM3" */
  name: string;
  /** "nvidia", and what the driver says of its version; empty where unknown. */
  vendor: string;
  driver: string;
  /** Runs on the CPU (lavapipe, SwiftShader): for tests, never worth choosing. */
  software: boolean;
  /** shader-f16: operands of products in half precision. */
  f16: boolean;
  subgroups: boolean;
  /** Lanes of a subgroup; both 0 where unknown. */
  subgroupSize: { min: number; max: number };
  /** Subgroup matrices of 16 x 16 x 16, f16 operands, f32 sums: tensor cores. */
  matrix: boolean;
  timestamps: boolean;
  limits: GpuLimits;
  features: string[];
}

/** Bytes, except for the counts of invocations and workgroups. */
export interface GpuLimits {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
  maxComputeWorkgroupStorageSize: number;
  maxComputeInvocationsPerWorkgroup: number;
  maxComputeWorkgroupSizeX: number;
  maxComputeWorkgroupsPerDimension: number;
  maxStorageBuffersPerShaderStage: number;
}

export interface Gpu extends GpuAbout {
  device: GPUDevice;
  /** Throws a UserError when the device was lost, ran out of memory or refused something since the last call. */
  check(): void;
  /** The same after a call has failed: what the device says of it may come a moment later. */
  explain(): Promise<void>;
  close(): void;
}

/** Adapters by name as driver writers call their software ones. */
const softwareNames = /llvmpipe|lavapipe|swiftshader|software|\bcpu\b|warp|basic render/i;

/** What kernels may use of a device. */
export function kernelTarget({ engine, software, f16, matrix, limits }: Gpu): KernelTarget {
  return { f16, matrix, unroll: engine === "webgpu" && !software, maxBinding: limits.maxStorageBufferBindingSize };
}

const limitNames: (keyof GpuLimits)[] = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
  "maxStorageBuffersPerShaderStage",
];

const matrixFeature = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

/** Dawn's objects die with the object that made them, and the process with it: held for the life of the process. */
let dawn: GPU | undefined;

async function dawnGpu(): Promise<GPU> {
  if (dawn) return dawn;
  const { create, globals } = await import("webgpu");
  const scope = globalThis as Record<string, unknown>;
  waitPatiently(scope);
  for (const [name, value] of Object.entries(globals)) if (!(name in scope)) scope[name] = value;
  const toggles = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia", "disable_robustness"];
  return dawn = create([`enable-dawn-features=${toggles}`]) as unknown as GPU;
}

/**
 * While anything is pending Dawn asks again and again through setImmediate. Over seconds (a shader that is compiled, a
 * long step) that keeps a core busy, and in the end Deno stands still: after some rounds the next ones wait a millisecond.
 */
function waitPatiently(scope: Record<string, unknown>): void {
  const immediate = scope.setImmediate as (callback: () => void) => unknown;
  const quickRounds = 300, pause = 5;
  let rounds = 0, last = 0;
  scope.setImmediate = (callback: () => void, ...args: unknown[]) => {
    const now = performance.now();
    if (now - last > pause) rounds = 0;
    last = now;
    return args.length === 0 && ++rounds > quickRounds ? setTimeout(callback, 1) : immediate(callback, ...args as []);
  };
}

type Adapter = GPUAdapter & { info: AdapterInfo };

interface AdapterInfo extends GPUAdapterInfo {
  subgroupMatrixConfigs?: { M: number; N: number; K: number; componentType: string; resultComponentType: string }[];
}

async function requestAdapter(engine: GpuEngine): Promise<Adapter> {
  let adapter: GPUAdapter | null;
  try {
    const gpu = engine === "dawn" ? await dawnGpu() : navigator.gpu;
    adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch (error) {
    throw new UserError(`Cannot use the ${engine} engine: ${firstLine((error as Error).message)}`, {
      hint: engine === "dawn"
        ? "--engine webgpu uses Deno's own WebGPU, --engine onnx the CPU."
        : "--engine onnx uses the CPU.",
      cause: error,
    });
  }
  if (!adapter) {
    throw new UserError(`The ${engine} engine finds no graphics adapter`, {
      hint: "Install the GPU's driver (on Linux also its Vulkan part and the Vulkan loader), or use --engine onnx.",
    });
  }
  return adapter as Adapter;
}

function aboutOf(engine: GpuEngine, adapter: Adapter): GpuAbout {
  const { info, limits, features } = adapter;
  const software = softwareNames.test(Object.values(texts(info)).join(" "));
  const { vendor, device, description } = texts(info);
  // Dawn describes the driver, and names the device "nvidia-h100-80gb-hbm3".
  const name = engine === "dawn" && !software ? spelled(device) || description : description;
  const { subgroupMinSize: min = 0, subgroupMaxSize: max = 0 } = info;
  // Deno offers subgroups without listing them; 4 to 128 lanes is its word for a driver that has none (OpenGL).
  const subgroups = engine === "webgpu" ? min > 0 && !(min === 4 && max === 128) : features.has("subgroups");
  return {
    engine,
    name: name || vendor || "unnamed adapter",
    vendor: vendors[vendor] ?? vendor,
    driver: engine === "dawn" ? description : "",
    software,
    f16: features.has("shader-f16"),
    subgroups,
    subgroupSize: { min, max },
    matrix: features.has(matrixFeature) && subgroups && max === 32 &&
      limits.maxComputeWorkgroupStorageSize >= 48 * 1024 && limits.maxStorageBuffersPerShaderStage >= 9 &&
      (info.subgroupMatrixConfigs ?? []).some(({ M, N, K, componentType, resultComponentType }) =>
        M === 16 && N === 16 && K === 16 && componentType === "f16" && resultComponentType === "f32"
      ),
    timestamps: features.has("timestamp-query"),
    limits: Object.fromEntries(
      limitNames.map((key) => [key, limits[key as keyof GPUSupportedLimits]]),
    ) as unknown as GpuLimits,
    features: [...features].sort(),
  };
}

/** Deno gives a vendor's number (of PCI, or Vulkan's own). */
const vendors: Record<string, string> = {
  0x1002: "amd",
  0x10de: "nvidia",
  0x8086: "intel",
  0x106b: "apple",
  0x13b5: "arm",
  0x5143: "qualcomm",
  0x10005: "mesa",
};

function texts({ vendor, architecture, device, description }: AdapterInfo) {
  return { vendor, architecture, device, description };
}

/** "nvidia-geforce-rtx-4090" -> "NVIDIA Geforce RTX 4090" */
function spelled(name: string): string {
  return name.split("-").filter((word) => word !== "").map((word) =>
    /\d|^(nvidia|amd|rtx|gtx|rx|xtx?)$/.test(word) ? word.toUpperCase() : word[0].toUpperCase() + word.slice(1)
  ).join(" ");
}

/** What the engine's adapter is, without making a device. UserError when there is none. */
export async function inspectGpu(engine: GpuEngine): Promise<GpuAbout> {
  return aboutOf(engine, await requestAdapter(engine));
}

/** A device with everything its adapter offers that kernels use. UserError when there is none. */
export async function openGpu(engine: GpuEngine): Promise<Gpu> {
  const adapter = await requestAdapter(engine), about = aboutOf(engine, adapter);
  const requiredFeatures = [
    about.f16 && "shader-f16",
    about.subgroups && "subgroups",
    about.timestamps && "timestamp-query",
    about.matrix && matrixFeature,
    about.features.includes("subgroup-size-control") && "subgroup-size-control",
  ].filter((feature) => feature !== false) as GPUFeatureName[];
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures, requiredLimits: { ...about.limits } });
  } catch (error) {
    throw new UserError(`Cannot open ${about.name} through ${engine}: ${firstLine((error as Error).message)}`, {
      hint: "Close programs that use the GPU, or use --engine onnx.",
      cause: error,
    });
  }
  let failure: UserError | undefined, lost: UserError | undefined, closed = false;
  const ended = device.lost.then(({ message, reason }) => {
    if (closed) return;
    lost = new UserError(`The GPU was lost: ${firstLine(message) || reason}`, {
      hint: "The last checkpoint is intact: continue with --resume. If it happens again, update the driver.",
    });
  });
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault?.();
    failure ??= deviceError((event as GPUUncapturedErrorEvent).error, about);
  });
  function check(): void {
    // Everything fails on a lost device: that it was lost is what matters.
    const found = lost ?? failure;
    if (found) throw found;
  }
  return {
    ...about,
    device,
    check,
    async explain() {
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 200))]);
      check();
    },
    close() {
      closed = true;
      device.destroy();
    },
  };
}

function deviceError(error: GPUError, { name, engine }: GpuAbout): UserError {
  const message = firstLine(error.message);
  if (error.constructor.name === "GPUOutOfMemoryError" || /out of memory|allocation/i.test(message)) {
    return new UserError(`${name} has not enough free memory: ${message}`, {
      hint: "Lower max_memory, max_length or the batch size, or close programs that use the GPU.",
    });
  }
  return new UserError(`${name} refused a command (${engine}): ${message}`, {
    hint: "Please report this with the output of ftl doctor. --engine onnx works without the GPU.",
  });
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0];
}
