/**
 * The stream of commands to a device: dispatches are encoded as they come, into one compute pass, and submitted when a
 * result is read or enough has gathered for the GPU to start on. Bind groups and parameter slots are made once and
 * found again by what they hold, so that a repeated step only encodes.
 */
import type { Gpu } from "./device.ts";
import { bytesOf, type Dispatch, type Dtype, elements } from "./dispatch.ts";
import { makePipelines, paramBytes, type Pipeline } from "./pipelines.ts";
import type { Profile } from "./profile.ts";

/** A tensor in GPU memory: a buffer, or a part of one that starts at a multiple of 256 bytes. */
export interface GpuTensor {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  buffer: GPUBuffer & { id?: number };
  offset: number;
  /** Bytes of the binding: whole groups of 16. */
  bytes: number;
}

/** What can be found for a dispatch before its tensors are known. */
export interface Encoded {
  pipeline: Pipeline;
  /** Where its parameters lie, until the next epoch. */
  slot: number;
}

/** Uniform offsets must be multiples of this on every device. */
const slotStride = 256;
const slotCount = 4096;
/**
 * Dispatches after which the GPU is given what there is: it works while more is encoded. After a read it has nothing to
 * do, so that it gets few at first.
 */
const flushFirst = 24, flushEvery = 192;

/** Bytes of a tensor's buffer: whole groups of 16, so that kernels may use vectors of four. */
export function tensorBytes(shape: readonly number[], dtype: Dtype): number {
  return Math.max(16, Math.ceil(elements(shape) * bytesOf[dtype] / 16) * 16);
}

export function makeCommands(gpu: Gpu, { profile }: { profile?: Profile } = {}) {
  const { device } = gpu, pipelines = makePipelines(device);
  const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
  const paramBuffer = device.createBuffer({ label: "params", size: slotStride * slotCount, usage });
  /** What stands in bindings that are there unused: each its own, since one for writing may be bound once only. */
  const spares: GpuTensor[] = [];
  const slots = new Map<string, number>();
  let epoch = 0;
  /** Buffers that buffers.ts did not make get numbers below 0. */
  let unnumbered = 0;
  let bindGroups = new Map<string, GPUBindGroup>();
  let encoder: GPUCommandEncoder | undefined, pass: GPUComputePassEncoder | undefined, pending = 0;
  /** What the pass is set to: neighbours often share it. */
  let current: GPUComputePipeline | undefined;
  let staging: GPUBuffer | undefined;
  let flushAfter = flushFirst;

  function slotOf(params: Dispatch["params"]): number {
    let key = "";
    for (const param of params) key += typeof param === "number" ? `${param},` : `f${param.f32},`;
    let slot = slots.get(key);
    if (slot === undefined) {
      if (slots.size === slotCount) {
        // Submitted work keeps what it was given: later writes are ordered behind it.
        flush();
        slots.clear();
        epoch++;
      }
      slot = slots.size * slotStride;
      const data = new DataView(new ArrayBuffer(paramBytes));
      params.forEach((param, i) => {
        if (typeof param === "number") data.setUint32(4 * i, param, true);
        else data.setFloat32(4 * i, param.f32, true);
      });
      device.queue.writeBuffer(paramBuffer, slot, new Uint8Array(data.buffer));
      slots.set(key, slot);
    }
    return slot;
  }

  function spareOf(i: number): GpuTensor {
    return spares[i] ??= {
      ...{ shape: [4], dtype: "f32", offset: 0, bytes: 16 },
      buffer: device.createBuffer({ label: `spare ${i}`, size: 16, usage: GPUBufferUsage.STORAGE }),
    };
  }

  /**
   * The bind group of a dispatch on these tensors. Parameters lie at a place of their own in it: an offset that is given
   * with every dispatch takes longer to encode.
   */
  function groupOf(
    { pipeline: { id, layout, bindings }, slot }: Encoded,
    given: (GpuTensor | null)[],
  ): GPUBindGroup {
    const tensors = bindings.map((binding) => given[binding - 1] ?? spareOf(binding));
    let key = `${id}|${slot}`;
    for (const { buffer, offset, bytes } of tensors) key += `,${buffer.id ??= --unnumbered}:${offset}:${bytes}`;
    let group = bindGroups.get(key);
    if (!group) {
      if (bindGroups.size > 50_000) bindGroups = new Map(); // buffers of the past
      group = device.createBindGroup({
        layout,
        entries: [
          { binding: 0, resource: { buffer: paramBuffer, offset: slot, size: paramBytes } },
          ...tensors.map(({ buffer, offset, bytes }, i) => {
            return { binding: bindings[i], resource: { buffer, offset, size: bytes } };
          }),
        ],
      });
      bindGroups.set(key, group);
    }
    return group;
  }

  function endPass(): GPUCommandEncoder {
    pass?.end();
    pass = current = undefined;
    return encoder ??= device.createCommandEncoder();
  }

  function flush(): void {
    pass?.end();
    if (encoder) {
      profile?.resolve(encoder);
      device.queue.submit([encoder.finish()]);
    }
    encoder = pass = current = undefined;
    pending = 0;
  }

  function prepare(dispatch: Dispatch): Encoded {
    return { pipeline: pipelines.get(dispatch), slot: slotOf(dispatch.params) };
  }

  function encode(encoded: Encoded, dispatch: Dispatch, group: GPUBindGroup): void {
    const { grid: [x, y, z] } = dispatch;
    if (profile) pass = endPass().beginComputePass({ timestampWrites: profile.next(dispatch) });
    pass ??= endPass().beginComputePass();
    const { pipeline } = encoded.pipeline;
    if (pipeline !== current) pass.setPipeline(current = pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
    if (profile) endPass();
    if (++pending >= flushAfter) {
      flush();
      flushAfter = Math.min(flushEvery, 2 * flushAfter);
    }
  }

  return {
    pipelines,
    prepare,
    /** Counts how often slots were given up: what was prepared before has to be prepared anew, with its bind groups. */
    epoch: () => epoch,
    groupOf,
    /** Encodes a dispatch that was prepared, with its bind group. */
    encode,
    dispatch(dispatch: Dispatch<GpuTensor>): void {
      const prepared = prepare(dispatch);
      encode(prepared, dispatch, groupOf(prepared, dispatch.tensors));
    },
    /** Copies `bytes` from one buffer to another, in order with the dispatches. */
    copy(from: GpuTensor, to: GpuTensor, bytes: number): void {
      endPass().copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, bytes);
    },
    /** Writes host data into a tensor, in order with what was submitted: what is pending goes first. */
    write(tensor: GpuTensor, data: ArrayBufferView): void {
      flush();
      // Only bytes: Dawn dies of other views. Sizes must be multiples of four.
      let bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
      if (bytes.length % 4 !== 0) {
        const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
        padded.set(bytes);
        bytes = padded;
      }
      device.queue.writeBuffer(tensor.buffer, tensor.offset, bytes);
    },
    flush,
    /** Bytes of tensors, after everything that was encoded before. One wait for all of them. */
    async read(tensors: GpuTensor[]): Promise<ArrayBuffer[]> {
      const starts: number[] = [];
      let size = 0;
      for (const { bytes } of tensors) {
        starts.push(size);
        size += bytes;
      }
      if (!staging || staging.size < size) {
        staging?.destroy();
        const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
        staging = device.createBuffer({ label: "staging", size: Math.max(65_536, size), usage });
      }
      const open = endPass();
      tensors.forEach(({ buffer, offset, bytes }, i) =>
        open.copyBufferToBuffer(buffer, offset, staging!, starts[i], bytes)
      );
      flush();
      flushAfter = flushFirst;
      const mine = staging;
      try {
        await mine.mapAsync(GPUMapMode.READ, 0, size);
      } catch (error) {
        await gpu.explain();
        throw error;
      }
      const results = tensors.map(({ bytes }, i) => mine.getMappedRange(starts[i], bytes).slice(0));
      mine.unmap();
      gpu.check();
      return results;
    },
    close(): void {
      paramBuffer.destroy();
      spares.forEach((spare) => spare?.buffer.destroy());
      staging?.destroy();
    },
  };
}

export type Commands = ReturnType<typeof makeCommands>;
