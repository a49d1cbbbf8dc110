/**
 * The training loop: windows of rows in, updated parameters out, with evaluation, early stopping, checkpoints, a log and
 * exact resume. It decides when things happen; how is in the files it imports. It prints nothing: events go to a
 * callback, and Ctrl-C comes in as an AbortSignal.
 *
 * Assumes that the run's files are this process's alone (lib/files/lock.ts) and that learner and rows are those whose
 * fingerprints it is given.
 */
import { dirname } from "node:path";
import { UserError } from "../errors.ts";
import { removeLeftovers } from "../files/atomic.ts";
import { listCheckpoints, removeOldCheckpoints, type TrainState, writeCheckpoint } from "./checkpoint.ts";
import type { StopReason, TrainEvent, TrainResult } from "./events.ts";
import { type LogLine, openLog, type TrainLog } from "./log.ts";
import { bestValues, freshState, refuseEarlierRun, requireRunSpace, resumeState } from "./run_state.ts";
import { learningRateAt, type Schedule, warmupStepsOf } from "./schedule.ts";
import { settingsFingerprint, type TrainOptions } from "./settings.ts";
import { meanLoss } from "./window_gradient.ts";
import { planWindows, type Windows } from "./windows.ts";

/** A run between two steps. */
interface Run extends TrainOptions {
  windows: Windows;
  schedule: Schedule;
  /** Replaced, never changed. */
  state: TrainState;
  /** Step whose checkpoint is on disk; -1 for none. */
  lastSaved: number;
  /** Why the last attempt at a checkpoint failed. */
  unsaved?: string;
  lastEval?: { step: number; loss: number };
  /** Evaluations without improvement that end the run; 0 without early stopping. */
  patience: number;
  /** Values at the best evaluation, with early stopping. */
  best?: Float32Array[];
  log?: TrainLog;
  /** Whether lines wait that the disk refused. */
  logRefused?: boolean;
  onEvent: (event: TrainEvent) => void;
}

/**
 * Trains until the last step, early stopping or the signal. With early stopping the parameters are left as they were at
 * the best evaluation. UserError when loss or gradient stop being finite (the parameters stay as before that step), when
 * resuming does not fit, or when files cannot be begun. A disk that refuses later does not end the run: what it refused
 * is tried again with the next checkpoint, and the result says whether it failed to the end.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const run = await openRun(options);
  const { windows: { totalSteps }, settings, learner } = run;
  try {
    if (run.evalRows?.length && run.state.step === 0 && run.state.evalBefore === undefined) {
      run.state = { ...run.state, evalBefore: await evaluate(run) };
      if (run.patience > 0) await save(run);
    }
    let reason = stopReason(run);
    for (; !reason; reason = stopReason(run)) {
      await takeStep(run);
      await new Promise((resolve) => setTimeout(resolve)); // lets a signal in, however synchronous the model is
    }
    if (reason === "interrupted" || settings.saveSteps > 0) await save(run);
    const evalAfter = reason === "interrupted" ? undefined : await finalLoss(run);
    await learner.pull();
    run.onEvent({ type: "stop", reason, step: run.state.step });
    syncLog(run);
    const { state: { step, evalBefore, best }, lastSaved: saved, unsaved } = run;
    return {
      reason,
      step,
      totalSteps,
      saved,
      unsaved,
      evalBefore,
      evalAfter,
      best: run.patience > 0 ? best : undefined,
    };
  } finally {
    run.log?.close();
  }
}

async function openRun(options: TrainOptions): Promise<Run> {
  const { learner, settings, rowsPerPass, files, onEvent = () => {} } = options;
  const windows = planWindows({
    rows: options.rows,
    batchSize: settings.perDeviceTrainBatchSize,
    accumulation: settings.gradientAccumulationSteps,
    maxSteps: settings.maxSteps,
    epochs: settings.numTrainEpochs,
  });
  const { totalSteps, stepsPerEpoch } = windows;
  const warmupSteps = warmupStepsOf(totalSteps, settings);
  const fingerprint = { ...settingsFingerprint(settings, options.rows), ...options.fingerprint };
  const patience = options.evalRows?.length ? settings.earlyStoppingPatience : 0;

  let state = freshState({ rowsPerPass, fingerprint }),
    resumedFrom: string | undefined,
    best: Float32Array[] | undefined;
  if (options.resume && !files) throw new Error("resuming needs files");
  if (files) {
    removeLeftovers(files.checkpoints);
    if (!options.resume) refuseEarlierRun(files.checkpoints);
    const resumed = options.resume &&
      await resumeState(files.checkpoints, { learner, rowsPerPass, fingerprint, onEvent });
    if (resumed) {
      ({ state, path: resumedFrom } = resumed);
      if (patience > 0 && state.best) {
        const { parameters } = learner;
        best = bestValues(files.checkpoints, { step: state.best.step, parameters, onEvent });
      }
    } else if (options.resume) onEvent({ type: "note", message: "no checkpoint was written yet: beginning at step 0" });
    const { saveSteps, saveTotalLimit } = settings;
    requireRunSpace(dirname(files.log), {
      learner,
      checkpoints: saveSteps > 0 ? Math.min(saveTotalLimit + 1, Math.ceil(totalSteps / saveSteps)) : 1,
      there: listCheckpoints(files.checkpoints).length,
    });
  }
  const log = files && openLog(files.log, { afterStep: state.step });
  if (files && log && log.missing > 0) {
    const message = `lost: the lines of ${log.missing} of the first ${state.step} steps in ${files.log}`;
    onEvent({ type: "note", message });
  }
  const rowsPerStep = windows.size, { step } = state;
  onEvent({ type: "start", step, totalSteps, stepsPerEpoch, rowsPerStep, rowsPerPass, warmupSteps, resumedFrom });
  return {
    ...options,
    windows,
    schedule: {
      type: settings.lrSchedulerType,
      learningRate: settings.learningRate,
      warmupSteps,
      totalSteps,
    },
    state,
    lastSaved: resumedFrom === undefined ? -1 : step,
    patience,
    best,
    log,
    onEvent,
  };
}

function stopReason(run: Run): StopReason | undefined {
  if (run.patience > 0 && run.state.evaluationsSinceBest >= run.patience) return "early_stopping";
  if (run.state.step >= run.windows.totalSteps) return "finished";
  return run.signal?.aborted ? "interrupted" : undefined;
}

/** One optimiser step: gradient, update, and after it what is due: evaluation, log line, checkpoint. */
async function takeStep(run: Run): Promise<void> {
  const { learner, settings, rowsPerPass, onEvent } = run;
  const { totalSteps } = run.windows;
  const begun = performance.now();
  const { start, end } = run.windows.at(run.state.step), step = run.state.step + 1;
  const rows = Array.from({ length: end - start }, (_, i) => run.rowAt(start + i));
  const learningRate = learningRateAt(run.state.step, run.schedule);
  const { seed, maxGradNorm } = settings;
  const result = await learner.step(rows, { rowsPerPass, seed, position: start, learningRate, maxGradNorm });
  const { loss, gradNorm, tokens } = result;
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    throw notFinite(run, { step, loss, gradNorm, learningRate });
  }
  run.state = { ...run.state, step, position: end };
  const seconds = (performance.now() - begun) / 1000;

  const evalDue = step === totalSteps || (settings.evalSteps > 0 && step % settings.evalSteps === 0);
  const evalLoss = evalDue && run.evalRows?.length ? await evaluate(run) : undefined;
  const epoch = end / run.rows;
  onEvent({ type: "step", step, totalSteps, epoch, loss, gradNorm, learningRate, tokens, seconds, evalLoss });
  appendLine(run, {
    step,
    loss,
    grad_norm: gradNorm,
    learning_rate: learningRate,
    tokens,
    seconds: Math.round(seconds * 1000) / 1000,
    memory_bytes: Deno.memoryUsage().rss,
    ...(evalLoss === undefined ? {} : { eval_loss: evalLoss }),
  });
  const isBest = run.patience > 0 && run.state.best?.step === step;
  if (isBest || (settings.saveSteps > 0 && step % settings.saveSteps === 0)) await save(run);
}

/** Held-out loss of the parameters as they are; notes whether it is the best so far. */
async function evaluate(run: Run): Promise<number> {
  const { state, learner, evalRows = [], rowsPerPass } = run;
  const loss = await meanLoss(learner, evalRows, { rowsPerPass });
  const isBest = !state.best || loss < state.best.loss - (run.settings.earlyStoppingMinDelta ?? 0);
  run.state = isBest
    ? { ...state, best: { step: state.step, loss }, evaluationsSinceBest: 0 }
    : { ...state, evaluationsSinceBest: state.evaluationsSinceBest + 1 };
  run.lastEval = { step: state.step, loss };
  if (isBest && run.patience > 0) {
    await learner.pull();
    run.best = learner.parameters.map(({ value }) => value.slice());
  }
  run.onEvent({ type: "eval", step: state.step, loss, best: isBest });
  return loss;
}

/**
 * Writes the checkpoint of this step, unless it is there, and removes those that are too many. A disk that refuses it
 * leaves the earlier ones as they are, and the run goes on.
 */
async function save(run: Run): Promise<void> {
  const { files, state, learner } = run;
  if (!files || run.lastSaved === state.step) return;
  await learner.pull();
  syncLog(run); // A checkpoint is of use only with the lines before it.
  const { parameters, optimizer } = learner;
  try {
    const path = writeCheckpoint(files.checkpoints, { state, parameters, optimizer: optimizer.state() });
    run.lastSaved = state.step;
    run.unsaved = undefined;
    run.onEvent({ type: "checkpoint", step: state.step, path });
  } catch (error) {
    run.unsaved = messageOf(error);
    run.onEvent({ type: "unsaved", step: state.step, saved: run.lastSaved, message: run.unsaved });
    return;
  }
  try {
    removeOldCheckpoints(files.checkpoints, {
      step: state.step,
      keep: run.settings.saveTotalLimit,
      best: run.patience > 0 ? state.best?.step : undefined,
    });
  } catch (error) {
    run.onEvent({ type: "note", message: messageOf(error) });
  }
}

function appendLine(run: Run, line: LogLine): void {
  try {
    run.log?.append(line);
  } catch (error) {
    const message = messageOf(error);
    if (run.logRefused) return; // Said already, and tried again with every line.
    run.logRefused = true;
    run.onEvent({ type: "note", message: `${message}; its lines are kept and written when they can be` });
  }
}

function syncLog(run: Run): void {
  try {
    run.log?.sync();
    run.logRefused = false;
  } catch (error) {
    messageOf(error);
    run.logRefused = true;
  }
}

/** What a disk said; an error of another kind is thrown on. */
function messageOf(error: unknown): string {
  if (error instanceof UserError) return error.message;
  throw error;
}

/** Held-out loss at the end; with early stopping, of the best values, which it puts back. */
async function finalLoss(run: Run): Promise<number | undefined> {
  const { learner, evalRows, best, state } = run;
  if (!evalRows?.length) return undefined;
  if (best && state.best && state.best.step !== state.step) {
    await learner.pull();
    learner.parameters.forEach(({ value }, i) => value.set(best[i]));
    await learner.push();
    run.onEvent({ type: "restore", ...state.best });
    return state.best.loss;
  }
  if (run.lastEval?.step === state.step) return run.lastEval.loss;
  return await meanLoss(learner, evalRows, { rowsPerPass: run.rowsPerPass });
}

function notFinite(
  run: Run,
  { step, loss, gradNorm, learningRate }: { step: number; loss: number; gradNorm: number; learningRate: number },
): UserError {
  const { settings: { learningRate: peak, maxGradNorm }, lastSaved } = run;
  const what = Number.isFinite(loss)
    ? `the gradient's norm is ${gradNorm} (loss ${loss.toFixed(4)})`
    : `the loss is ${loss}`;
  const clip = maxGradNorm > 0 ? "" : " or set max_grad_norm to 1";
  const kept = lastSaved >= 0 ? `; the checkpoint of step ${lastSaved} is good` : "";
  return new UserError(`Training stopped at step ${step}: ${what} at learning rate ${learningRate}`, {
    hint: `Lower learning_rate (it is ${peak}; try ${peak / 10})${clip}${kept}.`,
  });
}
