/**
 * ONNX Runtime through its C API: the shared library of npm's onnxruntime-node, called by Deno's foreign functions. The
 * package's own JavaScript copies every output into a new array (half a gigabyte a training step) and gives each session
 * an arena of its own; here outputs are written where the caller wants them and all sessions share one arena.
 *
 * Functions are taken from the table `OrtApi` by position; positions of published functions never change
 * (onnxruntime_c_api.h, ORT_API_VERSION 5). Handles are released by their owners; tensors when they are collected.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import manifest from "onnxruntime-node/package.json" with { type: "json" };
import { UserError } from "../errors.ts";

/** Positions in OrtApi. */
const position = {
  GetErrorMessage: 2,
  CreateEnv: 3,
  CreateSessionFromArray: 8,
  Run: 9,
  CreateSessionOptions: 10,
  EnableProfiling: 14,
  DisableMemPattern: 17,
  SetSessionGraphOptimizationLevel: 23,
  SetIntraOpNumThreads: 24,
  CreateTensorWithDataAsOrtValue: 49,
  CreateCpuMemoryInfo: 69,
  GetAllocatorWithDefaultOptions: 78,
  ReleaseStatus: 93,
  ReleaseSession: 95,
  ReleaseValue: 96,
  ReleaseSessionOptions: 100,
  SessionEndProfiling: 110,
  AddSessionConfigEntry: 130,
  CreateAndRegisterAllocator: 144,
} as const;

const apiVersion = 5;
/** ONNXTensorElementDataType. */
const elementTypes = { float: 1, int32: 6, f16: 10, bf16: 16 } as const;

export type TensorData = Float32Array | Int32Array | Uint16Array;
/** What the numbers of a Uint16Array are. */
export type HalfType = "f16" | "bf16";

/** An OrtValue over memory of the caller's, which it keeps alive. */
export interface Tensor {
  readonly data: TensorData;
  readonly handle: bigint;
}

export interface Session {
  /** Runs the graph; inputs and outputs in the order of the names it was made with. Outputs are written in place. */
  run(inputs: Tensor[], outputs: Tensor[]): Promise<void>;
  close(): void;
}

export interface SessionOptions {
  inputs: string[];
  outputs: string[];
  /** 0: one on every physical core. */
  threads: number;
  /** Prefix of a profile's file name. */
  profile?: string;
}

export interface Runtime {
  version: string;
  /** A tensor over `data`; `half` says what a Uint16Array holds. */
  tensor(data: TensorData, shape: readonly number[], half?: HalfType): Tensor;
  session(model: Uint8Array, options: SessionOptions): Session;
}

let loaded: Runtime | undefined;

/** What running graphs read and write, kept from the collector. */
const inFlight = new Set<unknown>();

/** The runtime, loaded at the first call. UserError when the library cannot be loaded on this machine. */
export function onnxRuntime(): Runtime {
  return loaded ??= load();
}

/** File of the shared library, in the package's folder for this system. */
function libraryPath(): string {
  const entry = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const os = { windows: "win32" }[Deno.build.os as string] ?? Deno.build.os;
  const arch = Deno.build.arch === "x86_64" ? "x64" : "arm64";
  const file = { win32: "onnxruntime.dll", darwin: "libonnxruntime.1.dylib" }[os] ?? "libonnxruntime.so.1";
  return join(dirname(entry), "bin", "napi-v6", os, arch, file);
}

function openLibrary() {
  const path = libraryPath();
  // Otherwise it gives the machine a number, keeps a diary in the user's cache folder and sends it to its maker.
  Deno.env.set("ORT_DISABLE_TELEMETRY", "1");
  try {
    return Deno.dlopen(path, { OrtGetApiBase: { parameters: [], result: "pointer" } });
  } catch (error) {
    throw new UserError(`Cannot load ONNX Runtime: ${(error as Error).message.split("\n")[0]}`, {
      hint: `it needs a 64-bit Linux with glibc, macOS or Windows; the library is ${path}`,
    });
  }
}

function load(): Runtime {
  const base = new Deno.UnsafePointerView(openLibrary().symbols.OrtGetApiBase()!);
  const getApi = new Deno.UnsafeFnPointer(base.getPointer(0)!, { parameters: ["u32"], result: "pointer" });
  const table = new Deno.UnsafePointerView(getApi.call(apiVersion)!);
  const bind = <const P extends Deno.NativeType[]>(name: keyof typeof position, parameters: P) =>
    new Deno.UnsafeFnPointer(table.getPointer(8 * position[name])!, { parameters, result: "pointer" });
  const release = (name: keyof typeof position) => {
    const free = new Deno.UnsafeFnPointer(table.getPointer(8 * position[name])!, {
      parameters: ["u64"],
      result: "void",
    });
    return (handle: bigint) => free.call(handle);
  };

  const getErrorMessage = new Deno.UnsafeFnPointer(table.getPointer(8 * position.GetErrorMessage)!, {
    parameters: ["pointer"],
    result: "pointer",
  });
  const releaseStatus = release("ReleaseStatus");
  /** Every function returns null, or a status to be read and released. */
  const check = (status: Deno.PointerValue) => {
    if (status === null) return;
    const message = new Deno.UnsafePointerView(getErrorMessage.call(status)!).getCString();
    releaseStatus(Deno.UnsafePointer.value(status));
    throw new Error(`ONNX Runtime: ${message}`);
  };
  /** Calls a function whose last parameter receives a handle. */
  const handleOf = (call: (out: BigUint64Array<ArrayBuffer>) => Deno.PointerValue): bigint => {
    const out = new BigUint64Array(new ArrayBuffer(8));
    check(call(out));
    return out[0];
  };

  const createEnv = bind("CreateEnv", ["i32", "buffer", "buffer"]);
  const createMemoryInfo = bind("CreateCpuMemoryInfo", ["i32", "i32", "buffer"]);
  const registerAllocator = bind("CreateAndRegisterAllocator", ["u64", "u64", "buffer"]);
  const env = handleOf((out) => createEnv.call(/* errors only */ 3, cString("ftl"), out));
  const deviceMemory = handleOf((out) => createMemoryInfo.call(/* device */ 0, /* default */ 0, out));
  const arenaMemory = handleOf((out) => createMemoryInfo.call(/* arena */ 1, /* default */ 0, out));
  check(registerAllocator.call(env, arenaMemory, arenaConfig()));

  const createTensor = bind("CreateTensorWithDataAsOrtValue", [
    ...["u64", "buffer", "usize", "buffer", "usize", "i32", "buffer"] as const,
  ]);
  const releaseValue = release("ReleaseValue");
  const collected = new FinalizationRegistry(releaseValue);

  const createOptions = bind("CreateSessionOptions", ["buffer"]);
  const releaseOptions = release("ReleaseSessionOptions");
  const setThreads = bind("SetIntraOpNumThreads", ["u64", "i32"]);
  const setOptimization = bind("SetSessionGraphOptimizationLevel", ["u64", "i32"]);
  const disablePatterns = bind("DisableMemPattern", ["u64"]);
  const enableProfiling = bind("EnableProfiling", ["u64", "buffer"]);
  const endProfiling = bind("SessionEndProfiling", ["u64", "u64", "buffer"]);
  const defaultAllocator = bind("GetAllocatorWithDefaultOptions", ["buffer"]);
  const addEntry = bind("AddSessionConfigEntry", ["u64", "buffer", "buffer"]);
  const createSession = bind("CreateSessionFromArray", ["u64", "buffer", "usize", "u64", "buffer"]);
  const releaseSession = release("ReleaseSession");
  const run = new Deno.UnsafeFnPointer(table.getPointer(8 * position.Run)!, {
    parameters: ["u64", "u64", "buffer", "buffer", "usize", "buffer", "usize", "buffer"],
    result: "pointer",
    // On a thread of its own: the program stays responsive while a graph runs.
    nonblocking: true,
  });

  function makeOptions({ threads, profile }: SessionOptions): bigint {
    const options = handleOf((out) => createOptions.call(out));
    check(setThreads.call(options, threads));
    // Constant folding and fusions only cost start-up here: the graphs are already what should run.
    check(setOptimization.call(options, 0));
    check(disablePatterns.call(options));
    const entries = {
      "session.use_env_allocators": "1",
      // Waiting threads that spin gain nothing measurable on an idle machine and take a third of a busy one.
      "session.intra_op.allow_spinning": "0",
    };
    for (const [key, value] of Object.entries(entries)) check(addEntry.call(options, cString(key), cString(value)));
    if (profile) check(enableProfiling.call(options, cString(profile)));
    return options;
  }

  return {
    version: manifest.version,
    tensor(data, shape, half) {
      // Asking for the buffer gives small arrays an address that does not move.
      const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
      const dimensions = BigInt64Array.from(shape, BigInt);
      const type = elementTypes[half ?? (data instanceof Int32Array ? "int32" : "float")];
      const handle = handleOf((out) =>
        createTensor.call(deviceMemory, bytes, BigInt(bytes.length), dimensions, BigInt(shape.length), type, out)
      );
      const tensor = { data, handle };
      collected.register(tensor, handle);
      return tensor;
    },
    session(model, options) {
      const settings = makeOptions(options);
      const handle = handleOf((out) =>
        createSession.call(env, model as Uint8Array<ArrayBuffer>, BigInt(model.length), settings, out)
      );
      releaseOptions(settings);
      const inputNames = cStrings(options.inputs), outputNames = cStrings(options.outputs);
      return {
        async run(inputs, outputs) {
          const from = handles(inputs), to = handles(outputs);
          const [inputCount, outputCount] = [BigInt(inputs.length), BigInt(outputs.length)];
          const { pointers: names } = inputNames, { pointers: results } = outputNames;
          // The graph runs on another thread, where the collector does not see what it uses.
          const used = { inputs, outputs, from, to, session: this };
          inFlight.add(used);
          try {
            check(await run.call(handle, 0n, names, from, inputCount, results, outputCount, to));
          } finally {
            inFlight.delete(used);
          }
        },
        close() {
          if (options.profile) {
            const allocator = handleOf((out) => defaultAllocator.call(out));
            handleOf((out) => endProfiling.call(handle, allocator, out));
          }
          releaseSession(handle);
        },
      };
    },
  };
}

/** OrtArenaCfg: no limit, growing by powers of two (by what is asked for fragments: 50 MiB more), defaults otherwise. */
function arenaConfig(): Uint8Array<ArrayBuffer> {
  const config = new DataView(new ArrayBuffer(32));
  config.setInt32(8, 0, true);
  for (const offset of [12, 16, 20]) config.setInt32(offset, -1, true);
  config.setBigInt64(24, -1n, true);
  return new Uint8Array(config.buffer);
}

function handles(tensors: Tensor[]): BigUint64Array<ArrayBuffer> {
  const list = new BigUint64Array(new ArrayBuffer(8 * Math.max(1, tensors.length)));
  tensors.forEach(({ handle }, i) => list[i] = handle);
  return list;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  const out = new Uint8Array(new ArrayBuffer(Math.max(128, bytes.length + 1)));
  out.set(bytes);
  return out;
}

/** An array of char*; the strings must live as long as it is used. */
function cStrings(texts: string[]): { pointers: BigUint64Array<ArrayBuffer>; strings: Uint8Array[] } {
  const strings = texts.map(cString);
  const pointers = new BigUint64Array(new ArrayBuffer(8 * Math.max(1, texts.length)));
  strings.forEach((text, i) => pointers[i] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(text)));
  return { pointers, strings };
}
