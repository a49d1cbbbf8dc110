/**
 * Checkpoints: one safetensors file each, step-000010.safetensors, with everything that the next step depends on but the
 * frozen model and the data, whose fingerprints it holds. Written under a temporary name and renamed, checked by a
 * sha256 over state and tensors when read. Older ones go only after the new one has been read back.
 *
 * Tensors: "parameter.<name>" F32, "optimizer.<name>.<state>" F32 or U8. Metadata: format, state (JSON), sha256.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { removeFile, writeAtomic } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { openFile } from "../files/file_source.ts";
import { makeFolder } from "../files/folder.ts";
import { requireSpace } from "../files/space.ts";
import { type LazyTensor, openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { Parameter } from "../model/trainable.ts";
import type { OptimizerState } from "./optimizer.ts";

const format = "ftl checkpoint 1";

/** The counters of a run between two steps. */
export interface TrainState {
  /** Optimiser steps taken. */
  step: number;
  /** Position of the next row. */
  position: number;
  rowsPerPass: number;
  /** Settings, model and data by name; the run is only the same run while these are equal. */
  fingerprint: Record<string, string>;
  /** Held-out loss before the first step. */
  evalBefore?: number;
  /** The lowest held-out loss, and evaluations since. */
  best?: { step: number; loss: number };
  evaluationsSinceBest: number;
}

export interface Checkpoint {
  path: string;
  state: TrainState;
  /** By parameter name. */
  values: Map<string, Float32Array<ArrayBuffer>>;
  optimizer: OptimizerState;
}

/** What the file's JSON holds: the counters of the run and those of its optimiser. */
interface StoredState extends TrainState, Pick<OptimizerState, "lossScale"> {
  optimizerStep: number;
}

export interface CheckpointFile {
  step: number;
  path: string;
}

/** Checkpoints of a folder by ascending step; none when there is no such folder. */
export function listCheckpoints(folder: string): CheckpointFile[] {
  let names: string[];
  try {
    names = Array.from(Deno.readDirSync(folder), (entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw fileError(error, { action: "read", path: folder });
  }
  return names
    .map((name) => ({ name, match: /^step-(\d{6,})\.safetensors$/.exec(name) }))
    .flatMap(({ name, match }) => match ? [{ step: Number(match[1]), path: join(folder, name) }] : [])
    .sort((a, b) => a.step - b.step);
}

/** Room for the header of a checkpoint, its names and its state; more than it takes. */
const headerBytes = (tensors: number) => 16_384 + 256 * tensors;

/** About what a checkpoint takes on the disk. */
export function checkpointBytes(parameters: Parameter[], { tensors }: OptimizerState): number {
  const arrays = [...parameters.map(({ value }) => value), ...tensors.values()];
  return arrays.reduce((sum, { byteLength }) => sum + byteLength, headerBytes(arrays.length));
}

/** Writes, reads back and compares. Returns the path. UserError when the disk is full or damaged what was written. */
export function writeCheckpoint(
  folder: string,
  content: { state: TrainState; parameters: Parameter[]; optimizer: OptimizerState },
): string {
  const { state, parameters, optimizer } = content;
  const path = join(folder, `step-${String(state.step).padStart(6, "0")}.safetensors`);
  const tensors = [
    ...parameters.map(({ name, shape, value }) => tensorOf(`parameter.${name}`, { shape, data: value })),
    ...Array.from(
      optimizer.tensors,
      ([name, data]) => tensorOf(`optimizer.${name}`, { shape: [data.length], data }),
    ),
  ];
  const { step: optimizerStep, lossScale } = optimizer;
  const json = JSON.stringify({ ...state, optimizerStep, lossScale });
  makeFolder(folder);
  requireSpace(folder, {
    bytes: checkpointBytes(parameters, optimizer),
    what: "A checkpoint",
    hint: "Free some space.",
  });
  writeAtomic(path, writeSafetensors(tensors, { format, state: json, sha256: checksum(json, tensors) }));
  readCheckpoint(path);
  return path;
}

function tensorOf(
  name: string,
  { shape, data }: { shape: number[]; data: Float32Array | Uint8Array },
): LazyTensor {
  const dtype = data instanceof Uint8Array ? "U8" : "F32";
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dtype, shape, byteLength: bytes.length, data: () => bytes };
}

/** Over the state and every tensor's name and bytes, in the order of the file. */
function checksum(json: string, tensors: Iterable<{ name: string; data: () => Uint8Array }>): string {
  const hash = createHash("sha256").update(json);
  for (const { name, data } of tensors) hash.update(name).update(data());
  return hash.digest("hex");
}

/** Reads and checks one checkpoint whole. UserError when it is damaged or of another kind. */
export function readCheckpoint(path: string): Checkpoint {
  const source = openFile(path);
  try {
    const file = openSafetensors(source);
    const { state: json, sha256 } = file.metadata;
    if (file.metadata.format !== format || json === undefined) {
      throw new UserError(`Cannot resume from ${path}: its format is "${file.metadata.format}", not "${format}"`, {
        hint: "It was written by another program or version: start the run anew.",
      });
    }
    const tensors = Array.from(file.tensors.values(), ({ name, dtype }) => {
      const bytes = file.bytes(name) as Uint8Array<ArrayBuffer>;
      return { name, dtype, bytes, data: () => bytes };
    });
    if (checksum(json, tensors) !== sha256) {
      throw new UserError(`Cannot resume from ${path}: its checksum does not match its content`, {
        hint: "The file was damaged after it was written.",
      });
    }
    const { optimizerStep, lossScale, ...state } = storedState(json, path);
    const checkpoint: Checkpoint = {
      path,
      state,
      values: new Map(),
      optimizer: { step: optimizerStep, tensors: new Map(), lossScale },
    };
    for (const { name, dtype, bytes } of tensors) {
      const array = dtype === "U8" ? bytes : new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      const [kind, key] = [name.slice(0, name.indexOf(".")), name.slice(name.indexOf(".") + 1)];
      if (kind === "parameter") checkpoint.values.set(key, array as Float32Array<ArrayBuffer>);
      else checkpoint.optimizer.tensors.set(key, array);
    }
    return checkpoint;
  } finally {
    source.close();
  }
}

function storedState(json: string, path: string): StoredState {
  try {
    return JSON.parse(json) as StoredState;
  } catch (cause) {
    throw new UserError(`Cannot resume from ${path}: its state is not JSON`, {
      hint: "It was written by another program or version: start the run anew.",
      cause,
    });
  }
}

/** A checkpoint that cannot be read, and why. */
export interface DamagedCheckpoint extends CheckpointFile {
  error: UserError;
}

/**
 * The newest checkpoint that can be read, and the damaged ones after it, which are set aside under the name
 * <name>.damaged, so that they never count as checkpoints again. Undefined where there is no checkpoint; UserError when
 * none of them can be read.
 */
export function latestCheckpoint(folder: string): { checkpoint: Checkpoint; damaged: DamagedCheckpoint[] } | undefined {
  const files = listCheckpoints(folder), damaged: DamagedCheckpoint[] = [];
  if (files.length === 0) return undefined;
  for (const file of files.toReversed()) {
    try {
      const checkpoint = readCheckpoint(file.path);
      for (const { path } of damaged) setAside(path);
      return { checkpoint, damaged };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      damaged.push({ ...file, error });
    }
  }
  throw new UserError(
    `Cannot resume: none of the ${files.length} checkpoints in ${folder} can be read; ${damaged[0].error.message}`,
    { hint: "All of the run's steps are lost: begin it again from the config.yaml in its folder." },
  );
}

function setAside(path: string): void {
  try {
    Deno.renameSync(path, `${path}.damaged`);
  } catch (error) {
    throw fileError(error, { action: "rename", path });
  }
}

/** Removes all but the newest `keep` checkpoints up to `step`; `best` stays too. */
export function removeOldCheckpoints(folder: string, options: { step: number; keep: number; best?: number }): void {
  const files = listCheckpoints(folder).filter(({ step }) => step <= options.step);
  for (const { step, path } of files.slice(0, Math.max(0, files.length - options.keep))) {
    if (step !== options.best) removeFile(path);
  }
}
