/**
 * `ftl eval`: what a training did, and whether it is true. For each set of questions the loss of the reference answers,
 * the model's own answers beside them, the choice it finds likeliest; of the base model and, where there is an adapter, of
 * the tuned one, asked in the same words.
 */
import { UserError } from "../errors.ts";
import { confidence, resamples } from "../eval/bootstrap.ts";
import type { QuestionSet } from "../eval/questions.ts";
import type { EvalResults, RowResult } from "../eval/results.ts";
import { summarize } from "../eval/summary.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import { openBaseAnswers } from "./base_answers.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { chooseEngine, type ChosenEngine } from "./engine.ts";
import { checkOut, showEval, writeEval } from "./eval_report.ts";
import { type Asking, questionSets, styleToAsk } from "./eval_rows.ts";
import { type Judge, judgeRows, makeJudge } from "./judging.ts";
import { fitsWasm, type LoadedModel, loadOpenedModel, type OpenedModel, openNamedModel, reopened } from "./load.ts";
import { answerQuestions, itemsOf, measureLosses, takeKnown } from "./measuring.ts";
import type { Settings } from "./options.ts";
import { versionNumber } from "./overview.ts";
import { type LiveLine, liveLine } from "./progress.ts";
import { lookUp, type Named } from "./saved_run.ts";
import { type Interrupt, onInterrupt, StoppedError } from "./terminal.ts";

type EvalSettings = Settings<"eval">;

export const shape: CommandShape = {
  name: "eval",
  summary: "Measures what a training did: trained rows (memorised), other questions about them (learned), unrelated\n" +
    "questions (forgotten), base beside tuned, with 95 % intervals. Without files it takes those that belong to the run.",
  usage: "[run folder | adapter folder | model] [rows.jsonl...]",
  most: 100,
  takes: [{ kinds: ["run", "model"] }, { kinds: ["file"] }],
  examples: [
    ["ftl eval runs/smollm2-135m-1", "a run: its rows, questions about them, the control set"],
    ["ftl eval runs/smollm2-135m-1 questions.jsonl -o results.json", "rows of your own, every answer kept"],
    ["ftl eval model.gguf --limit 5", "a model as it is, five questions of each set"],
    ["ftl eval runs/smollm2-135m-1 --judge openai:gpt-4o-mini", "another model grades the answers"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("eval", line), [what = "smollm2-135m", ...files] = line.positional;
  if (settings.output_file !== null) checkOut(settings.output_file);
  const named = lookUp(what, { base: settings.base });
  const sets = await questionSets({ files, what, limit: settings.limit });
  const judge = makeJudge(settings);
  const engine = await chooseEngine(settings.engine);
  const opened = await openNamedModel(named.model);
  const { tokenizer, source } = opened, { prompt_style, max_length: maxLength } = settings;
  const asking: Asking = { tokenizer, style: styleToAsk(prompt_style, { named, tokenizer }), maxLength };
  const adapter = named.adapter === null ? null : loadAdapter(named.adapter, source.config);
  const results = emptyResults(what, { settings, named, opened, asking, judge, sets });
  const items = itemsOf({ sets, results, adapter, asking, opened });
  const { left, keep } = takeKnown(items, {
    known: settings.base_answers === null ? null : openBaseAnswers(settings.base_answers),
    model: [versionNumber, source.fingerprint(), engine.kind],
    ...{ settings, asking },
  });
  const live = liveLine();
  const interrupt = onInterrupt(() => {
    live.end();
    console.error("stopping; what is known follows. Press Ctrl-C again to quit at once");
  });
  try {
    const { signal } = interrupt, show = (text: string) => live.show(text);
    const work = { items: left, asking, adapter, settings, signal, show };
    const apart = engine.kind === "onnx" && fitsWasm(source);
    await withModel(opened, { engine, settings, purpose: "training" }, async (model) => {
      results.model.engine = model.executor.description;
      await measureLosses(model, work);
      if (!apart) await answerQuestions(model, work);
    });
    if (apart && !signal.aborted) {
      // A CPU answers with another engine, as ftl run does; what the losses took of the memory is gone.
      await withModel(reopened(opened), { engine, settings, purpose: "answers" }, async (model) => {
        results.model.engine += `, answers: ${model.executor.description}`;
        await answerQuestions(model, work);
      });
    }
    if (!signal.aborted) keepForOthers(keep, live);
    if (judge) await judgeAll(judge, { results, settings, interrupt, show });
  } finally {
    live.end();
    interrupt.release();
  }
  results.complete = !interrupt.signal.aborted;
  for (const set of results.sets) set.scores = summarize(set.rows, settings);
  // Shown first: a disk that refuses the file does not take the numbers with it.
  console.log(settings.json ? JSON.stringify(results, null, 2) : showEval(results));
  if (settings.output_file !== null) {
    writeEval(settings.output_file, results);
    console.error(`every answer and score: ${settings.output_file}`);
  }
  if (interrupt.signal.aborted) throw new StoppedError();
  return 0;
}

function emptyResults(
  asked: string,
  { settings, named, opened, asking, judge, sets }: {
    settings: EvalSettings;
    named: Named;
    opened: OpenedModel;
    asking: Asking;
    judge: Judge | null;
    sets: QuestionSet[];
  },
): EvalResults {
  const { max_new_tokens, limit, seed } = settings;
  return {
    format: "ftl-eval/1",
    version: versionNumber,
    created: new Date().toISOString(),
    complete: false,
    asked,
    model: {
      name: named.model,
      parameters: opened.parameters,
      adapter: named.adapter,
      engine: "",
      prompt_style: asking.style,
    },
    settings: { max_new_tokens, limit, seed, resamples, confidence },
    judge: judge && { model: judge.name, prompt: judge.prompt },
    sets: sets.map(({ name, role, source, questions }) => ({
      name,
      role,
      source,
      scores: {},
      rows: questions.map(({ place, shown, reference, choices }): RowResult => ({
        place,
        question: shown,
        reference,
        ...choices && { choices: choices.texts, right_choice: choices.right },
      })),
    })),
  };
}

/** Loads the model, and frees it when `use` is done with it. */
async function withModel(
  opened: OpenedModel,
  { engine, settings: { threads }, purpose }: {
    engine: ChosenEngine;
    settings: EvalSettings;
    purpose: "training" | "answers";
  },
  use: (model: LoadedModel) => Promise<void>,
): Promise<void> {
  const model = await loadOpenedModel(opened, { engine, threads, purpose });
  try {
    await use(model);
  } finally {
    await model.close();
  }
}

/** Keeps what other evaluations can share. A disk that refuses costs them time, and this one nothing. */
function keepForOthers(keep: () => void, live: LiveLine): void {
  try {
    keep();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    live.end();
    console.error(`${error.message}; the base model will be asked again`);
  }
}

async function judgeAll(
  judge: Judge,
  { results, settings, interrupt, show }: {
    results: EvalResults;
    settings: EvalSettings;
    interrupt: Interrupt;
    show: (text: string) => void;
  },
): Promise<void> {
  if (interrupt.signal.aborted) return;
  const failures = await judgeRows(judge, results.sets.flatMap(({ rows }) => rows), {
    ...{ seed: settings.seed, atOnce: settings.at_once, signal: interrupt.signal },
    progress: (done, total) => show(`judge: ${done} of ${total} answers`),
  });
  for (const [why, times] of failures) {
    console.error(`judge ${judge.name}: ${times} without a verdict: ${why}`);
  }
}
