/**
 * Kernel files to pipelines. A kernel is plain WGSL that compiles as it stands; its variants differ only in the values
 * of `const NAME = ...;` and `alias NAME = ...;` lines, which are replaced here. One pipeline per file and values.
 */
import { UserError } from "../errors.ts";
import type { Dispatch } from "./dispatch.ts";
import { sources } from "./sources.ts";

export interface Pipeline {
  id: number;
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  /** Bindings of the layout besides 0. */
  bindings: number[];
}

/**
 * The text of a kernel with constants set. Bindings that are unused become memory of an invocation, which compilers remove,
 * so that they do not count against a device's limit; those that a kernel hands to functions stay. Throws when the file
 * has no such line.
 */
export function kernelText(
  kernel: string,
  constants: Record<string, number | string> = {},
  unused: number[] = [],
): string {
  let text = sources[kernel];
  if (text === undefined) throw new Error(`no kernel ${kernel}`);
  let half = false;
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`^(const|alias) ${name}\\b([^=\\n]*)=[^;\\n]*;`, "m");
    if (!line.test(text)) throw new Error(`kernel ${kernel} has no constant ${name}`);
    half ||= typeof value === "string" && /\bf16\b/.test(value);
    text = text.replace(line, (_, word, type) => `${word} ${name}${type}= ${value};`);
  }
  for (const binding of unused) {
    const line = new RegExp(`@group\\(0\\) @binding\\(${binding}\\) var<storage, \\w+> (\\w+): array<(.*)>;`);
    const [found, name, type] = line.exec(text) ?? [];
    if (found === undefined) throw new Error(`kernel ${kernel} has no binding ${binding}`);
    if (!text.includes(`&${name}`)) text = text.replace(found, `var<private> ${name}: array<${type}, 1>;`);
  }
  return half && !/^enable f16;/m.test(text) ? `enable f16;\n${text}` : text;
}

/** A storage binding by its number. */
type Binding = [number, GPUBufferBindingType];

/** How each storage binding of a kernel is used, from its text. */
function bindingsOf(text: string): Binding[] {
  return Array.from(
    text.matchAll(/@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>/g),
    ([, binding, access]) => [Number(binding), access === "read" ? "read-only-storage" : "storage"],
  );
}

/** Bindings for which a dispatch has no tensor. */
function unusedOf({ tensors }: Dispatch): number[] {
  return tensors.flatMap((tensor, i) => tensor ? [] : [i + 1]);
}

/** Bytes of a kernel's parameters, at most. */
export const paramBytes = 64;

export function makePipelines(device: GPUDevice) {
  const made = new Map<string, Pipeline>();
  const layouts = new Map<string, GPUBindGroupLayout>();
  let count = 0;

  function layoutOf(bindings: Binding[]): GPUBindGroupLayout {
    const key = bindings.join();
    let layout = layouts.get(key);
    if (!layout) {
      const visibility = GPUShaderStage.COMPUTE;
      layout = device.createBindGroupLayout({
        entries: [
          { binding: 0, visibility, buffer: { type: "uniform", minBindingSize: paramBytes } },
          ...bindings.map(([binding, type]) => ({ binding, visibility, buffer: { type } })),
        ],
      });
      layouts.set(key, layout);
    }
    return layout;
  }

  function describe(dispatch: Dispatch) {
    const { kernel, constants } = dispatch, text = kernelText(kernel, constants, unusedOf(dispatch));
    const bindings = bindingsOf(text), layout = layoutOf(bindings);
    const label = kernel;
    const descriptor: GPUComputePipelineDescriptor = {
      label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module: device.createShaderModule({ label, code: text }), entryPoint: "main" },
    };
    return { layout, bindings: bindings.map(([binding]) => binding), descriptor };
  }

  const keyOf = (dispatch: Dispatch) =>
    `${dispatch.kernel}|${unusedOf(dispatch)}|${JSON.stringify(dispatch.constants ?? {})}`;

  return {
    /** The pipeline of a dispatch, compiled now unless it was before. */
    get(dispatch: Dispatch): Pipeline {
      const key = keyOf(dispatch);
      let found = made.get(key);
      if (!found) {
        const { descriptor, ...rest } = describe(dispatch);
        found = { id: count++, ...rest, pipeline: device.createComputePipeline(descriptor) };
        made.set(key, found);
      }
      return found;
    },
    /** Compiles what is missing, side by side where the driver can. */
    async prepare(dispatches: Dispatch[]): Promise<void> {
      const missing = new Map(dispatches.map((dispatch) => [keyOf(dispatch), dispatch]));
      await Promise.all(Array.from(missing, async ([key, dispatch]) => {
        if (made.has(key)) return;
        device.pushErrorScope("validation");
        const { descriptor, ...rest } = describe(dispatch);
        const compiled = device.createComputePipelineAsync(descriptor).catch((error: Error) => error);
        const refused = await device.popErrorScope(), pipeline = await compiled;
        if (refused) throw refusal(dispatch, refused);
        if (pipeline instanceof Error) throw refusal(dispatch, pipeline);
        if (!made.has(key)) made.set(key, { id: count++, ...rest, pipeline });
      }));
    },
  };
}

function refusal({ kernel }: Dispatch, { message }: { message: string }): UserError {
  const line = message.split("\n").map((line) => line.trim()).find((line) => line !== "") ?? "it does not say why";
  return new UserError(`The driver refuses the kernel ${kernel}: ${line}`, {
    hint: "Update the GPU's driver, or use --engine onnx; please report this with the output of ftl doctor.",
  });
}
