/**
 * The state of a run at its start: fresh, or from the newest good checkpoint, which must belong to the same run. The
 * fingerprint is what "the same" means: settings, model and data by name, compared one by one so that a difference can
 * be named.
 */
import { UserError } from "../errors.ts";
import { requireSpace } from "../files/space.ts";
import type { Parameter } from "../model/trainable.ts";
import {
  type Checkpoint,
  checkpointBytes,
  latestCheckpoint,
  listCheckpoints,
  readCheckpoint,
  type TrainState,
} from "./checkpoint.ts";
import type { TrainEvent } from "./events.ts";
import type { Learner } from "./learner.ts";

export function freshState(options: { rowsPerPass: number; fingerprint: Record<string, string> }): TrainState {
  return { step: 0, position: 0, evaluationsSinceBest: 0, ...options };
}

/** Room for the checkpoints that a run keeps, for the one being written beside them, and for the adapter. */
export function requireRunSpace(folder: string, { learner, checkpoints, there }: {
  learner: Learner;
  /** Kept, or written if that is less; how many of them are on the disk. */
  checkpoints: number;
  there: number;
}): void {
  const { parameters, optimizer } = learner, more = Math.max(0, checkpoints - there);
  const adapter = parameters.reduce((sum, { value }) => sum + value.byteLength, 0);
  requireSpace(folder, {
    bytes: more * checkpointBytes(parameters, optimizer.state()) + adapter,
    what: `This run, for its adapter and ${more} checkpoint${more === 1 ? "" : "s"},`,
    hint: "Free some space, choose an --output-dir on another disk, or keep fewer checkpoints (--save-total-limit).",
  });
}

/** Refuses to start a new run over the checkpoints of an earlier one. */
export function refuseEarlierRun(folder: string): void {
  const last = listCheckpoints(folder).at(-1);
  if (last) {
    throw new UserError(
      `Cannot start a new run: ${folder} holds checkpoints up to step ${last.step} of an earlier one`,
      {
        hint: "Continue that run with --resume, or choose another output folder.",
      },
    );
  }
}

/**
 * Loads the newest good checkpoint into the learner and tells what of later ones is lost. Undefined where the run has no
 * checkpoint yet. UserError when it belongs to another run, or none can be read.
 */
export async function resumeState(folder: string, options: {
  learner: Learner;
  rowsPerPass: number;
  fingerprint: Record<string, string>;
  onEvent: (event: TrainEvent) => void;
}): Promise<{ state: TrainState; path: string } | undefined> {
  const { learner, rowsPerPass, fingerprint, onEvent } = options;
  const found = latestCheckpoint(folder);
  if (!found) return undefined;
  const { checkpoint, checkpoint: { path, state } } = found;
  for (const { path, step, error } of found.damaged) {
    onEvent({ type: "damaged_checkpoint", path, message: error.message, lost: { from: state.step, to: step } });
  }
  compareFingerprints(path, { saved: state.fingerprint, current: fingerprint });
  loadValues(checkpoint, learner.parameters);
  try {
    learner.optimizer.load(checkpoint.optimizer);
  } catch (error) {
    throw new UserError(`Cannot resume from ${path}: ${(error as Error).message}`, {
      hint: "Resume with the settings the run began with.",
      cause: error,
    });
  }
  await learner.push();
  if (state.rowsPerPass !== rowsPerPass) {
    onEvent({
      type: "note",
      message: `A pass holds ${rowsPerPass} rows now and held ${state.rowsPerPass} before: losses continue as they ` +
        "would have up to rounding, not bit for bit.",
    });
  }
  return { state: { ...state, rowsPerPass }, path };
}

function compareFingerprints(
  path: string,
  { saved, current }: { saved: Record<string, string>; current: Record<string, string> },
): void {
  const names = [...new Set([...Object.keys(saved), ...Object.keys(current)])];
  const differences = names
    .filter((name) => saved[name] !== current[name])
    .map((name) => `${name} was ${saved[name] ?? "not set"} and is now ${current[name] ?? "not set"}`);
  if (differences.length === 0) return;
  const shown = differences.slice(0, 4).join("; ");
  const more = differences.length > 4 ? `; and ${differences.length - 4} more` : "";
  throw new UserError(`Cannot resume from ${path}: ${shown}${more}`, {
    hint: "Resume with the settings, model and data the run began with, or start a new run.",
  });
}

/** Copies a checkpoint's values into the parameters; all of them must be there, nothing more. */
function loadValues(checkpoint: Checkpoint, parameters: Parameter[]): void {
  const { path, values } = checkpoint;
  const hint = "The checkpoint belongs to another adapter: resume with the settings the run began with.";
  for (const { name, value } of parameters) {
    const saved = values.get(name);
    if (saved?.length !== value.length) {
      throw new UserError(
        `Cannot resume from ${path}: "${name}" has ${saved?.length ?? "no"} values, ${value.length} are needed`,
        { hint },
      );
    }
  }
  if (values.size !== parameters.length) {
    throw new UserError(
      `Cannot resume from ${path}: it holds ${values.size} tensors of an adapter, this one has ${parameters.length}`,
      { hint },
    );
  }
  for (const { name, value } of parameters) value.set(values.get(name)!);
}

/** Values of the best evaluation's checkpoint, or undefined when it is gone or damaged (reported). */
export function bestValues(
  folder: string,
  options: { step: number; parameters: Parameter[]; onEvent: (event: TrainEvent) => void },
): Float32Array[] | undefined {
  const file = listCheckpoints(folder).find(({ step }) => step === options.step);
  try {
    if (!file) throw new UserError(`Cannot find the checkpoint of step ${options.step} in ${folder}`);
    const { values } = readCheckpoint(file.path);
    return options.parameters.map(({ name }) => values.get(name)!);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    options.onEvent({ type: "damaged_checkpoint", path: file?.path ?? folder, message: error.message });
    return undefined;
  }
}
