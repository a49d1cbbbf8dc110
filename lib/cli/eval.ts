/**
 * `ftl eval`: what a training did, and whether it is true. For each set of questions the loss of the reference answers,
 * the model's own answers beside them, the choice it finds likeliest; of the base model and, where there is an adapter, of
 * the tuned one, asked in the same words.
 */
import { answerAll } from "../eval/answer.ts";
import { confidence, resamples } from "../eval/bootstrap.ts";
import { pickChoice, rowLosses } from "../eval/likelihood.ts";
import type { Question, QuestionSet } from "../eval/questions.ts";
import type { EvalResults, RowAnswer, RowResult, Variant } from "../eval/results.ts";
import { scoreText, summarize } from "../eval/summary.ts";
import { loraScale } from "../model/adapter.ts";
import type { Generator } from "../model/generate.ts";
import { loadAdapter, type LoadedAdapter } from "../model/load_adapter.ts";
import type { RowLoss, Trainable } from "../model/trainable.ts";
import { makeTrainable } from "../model/trainable_model.ts";
import { type CommandLine, type CommandShape, readCommandLine, settingsOf } from "./command_line.ts";
import { chooseEngine } from "./engine.ts";
import { checkOut, showEval, writeEval } from "./eval_report.ts";
import { answeredRow, type Asking, choiceRow, questionIds, questionSets, styleToAsk } from "./eval_rows.ts";
import { type Judge, judgeRows, makeJudge } from "./judging.ts";
import { generatorOf, type LoadedModel, loadOpenedModel, openNamedModel } from "./load.ts";
import type { Settings } from "./options.ts";
import { versionNumber } from "./overview.ts";
import { liveLine } from "./progress.ts";
import { lookUp, type Named } from "./saved_run.ts";
import { type Interrupt, onInterrupt, StoppedError } from "./terminal.ts";

type EvalSettings = Settings<"eval">;

/** Tokens of a pass when losses are measured. */
const tokensPerPass = 1024;
/** Answers made together: as many as their keys and values have room for, in bytes of f32. */
const mostTogether = 32, cacheBytes = 2 ** 29;

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

export async function command(args: string[]): Promise<number> {
  const line = readCommandLine(shape, args);
  if ("help" in line) {
    console.log(line.help);
    return 0;
  }
  return await evaluate(line, settingsOf("eval", line));
}

async function evaluate({ positional }: CommandLine, settings: EvalSettings): Promise<number> {
  const [what = "smollm2-135m", ...files] = positional;
  if (settings.output_file !== null) checkOut(settings.output_file);
  const named = lookUp(what, { base: settings.base });
  const sets = await questionSets({ files, what, limit: settings.limit });
  const judge = makeJudge(settings);
  const engine = await chooseEngine(settings.engine);
  const opened = await openNamedModel(named.model, { keepNetwork: judge !== null });
  const { tokenizer } = opened, { prompt_style, max_length: maxLength } = settings;
  const asking: Asking = { tokenizer, style: styleToAsk(prompt_style, { named, tokenizer }), maxLength };
  const adapter = named.adapter === null ? null : loadAdapter(named.adapter, opened.source.config);
  const model = await loadOpenedModel(opened, { engine, threads: settings.threads, purpose: "training" });
  const line = liveLine();
  const interrupt = onInterrupt(() => {
    line.end();
    console.error("stopping; what is known follows. Press Ctrl-C again to quit at once");
  });
  const results = emptyResults(what, { settings, named, model, asking, judge, sets });
  try {
    const work = { model, adapter, asking, settings, sets, results, interrupt };
    for (const variant of adapter === null ? ["base"] as const : ["base", "tuned"] as const) {
      await measure(work, variant, (text) => line.show(`${variant}: ${text}`));
    }
    if (judge) await judgeAll(judge, { results, settings, interrupt, show: (text) => line.show(text) });
  } finally {
    line.end();
    interrupt.release();
    await model.close();
  }
  results.complete = !interrupt.signal.aborted;
  for (const set of results.sets) set.scores = summarize(set.rows, settings);
  if (settings.output_file !== null) writeEval(settings.output_file, results);
  console.log(settings.json ? JSON.stringify(results, null, 2) : showEval(results));
  if (settings.output_file !== null) console.error(`every answer and score: ${settings.output_file}`);
  if (interrupt.signal.aborted) throw new StoppedError();
  return 0;
}

function emptyResults(
  asked: string,
  { settings, named, model, asking, judge, sets }: {
    settings: EvalSettings;
    named: Named;
    model: LoadedModel;
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
      parameters: model.parameters,
      adapter: named.adapter,
      engine: model.executor.description,
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

interface Work {
  model: LoadedModel;
  adapter: LoadedAdapter | null;
  asking: Asking;
  settings: EvalSettings;
  sets: QuestionSet[];
  results: EvalResults;
  interrupt: Interrupt;
}

/** Losses, choices and answers of one variant, put into the results as they are known. */
async function measure(work: Work, variant: Variant, show: (text: string) => void): Promise<void> {
  const { model, sets, results } = work, adapter = variant === "tuned" ? work.adapter : null;
  const items = sets.flatMap(({ questions }, s) =>
    questions.map((question, i): Item => ({ question, answer: () => results.sets[s].rows[i][variant] ??= {} }))
  );
  const fitting = items.filter(({ question }) => fits(question, work));
  if (variant === "base" && fitting.length < items.length) {
    console.error(`left out, with more than ${work.settings.max_length} tokens: ${items.length - fitting.length} rows`);
  }
  await measureLosses(fitting, { work, trainable: trainableOf(model, adapter), show });
  await answerQuestions(fitting, { work, generator: await generatorOf(model, adapter), show });
}

/** Whether a question with its reference is short enough to be measured, and to be answered by this model. */
function fits(question: Question, { asking, model }: Work): boolean {
  const maxLength = Math.min(asking.maxLength, model.source.config.maxPositions);
  return answeredRow(question, question.reference, { ...asking, maxLength }) !== null;
}

/** A question, and where what is known of its answer goes. */
interface Item {
  question: Question;
  answer: () => RowAnswer;
}

interface Measuring {
  work: Work;
  show: (text: string) => void;
}

/** The losses of references and choices, all in one list, so that passes are full. */
async function measureLosses(
  items: Item[],
  { work: { asking, interrupt }, trainable, show }: Measuring & { trainable: Trainable },
): Promise<void> {
  const wanted = items.flatMap(({ question }, i) => {
    const reference = { i, isChoice: false, row: answeredRow(question, question.reference, asking) };
    const texts = question.choices?.texts ?? [];
    return [reference, ...texts.map((text) => ({ i, isChoice: true, row: choiceRow(question, text, asking) }))];
  }).flatMap(({ row, ...rest }) => row === null ? [] : [{ ...rest, row }]);
  const losses = await rowLosses(trainable, wanted.map(({ row }) => row), {
    tokensPerPass,
    signal: interrupt.signal,
    progress: (rows) => show(`likelihood of ${rows} of ${wanted.length} texts`),
  });
  const ofChoices = items.map((): RowLoss[] => []);
  for (const [k, loss] of losses.entries()) {
    const { i, isChoice } = wanted[k];
    if (isChoice) ofChoices[i].push(loss);
    else Object.assign(items[i].answer(), { loss: loss.loss, loss_tokens: loss.targets });
  }
  for (const [i, { question: { choices }, answer }] of items.entries()) {
    // A choice that is too long, or was not reached, leaves nothing to choose from.
    if (!choices || ofChoices[i].length < choices.texts.length) continue;
    const { likeliest, likeliestForLength } = pickChoice(ofChoices[i], choices.texts);
    Object.assign(answer(), { choice: likeliest, choice_for_length: likeliestForLength });
  }
}

async function answerQuestions(
  items: Item[],
  { work: { model, asking, settings, interrupt }, generator, show }: Measuring & { generator: Generator },
): Promise<void> {
  const prompts = items.map(({ question }) => questionIds(question, asking));
  const { layers, kvHeads, headDim } = model.source.config, maxNewTokens = settings.max_new_tokens;
  const longest = Math.max(...prompts.map(({ length }) => length)) + maxNewTokens;
  const room = Math.floor(cacheBytes / (2 * 4 * layers * kvHeads * headDim * longest));
  const answers = answerAll(generator, prompts, {
    tokenizer: asking.tokenizer,
    maxNewTokens,
    together: Math.max(1, Math.min(mostTogether, room)),
    signal: interrupt.signal,
    progress: ({ answers, tokens }) => show(`${answers} of ${prompts.length} answers, ${tokens} tokens`),
  });
  for await (const { prompt, text, finish, tokens } of answers) {
    const { question, answer } = items[prompt];
    Object.assign(answer(), { text, finish, tokens, ...scoreText(text, question) });
  }
}

function trainableOf({ executor, weights, source: { config } }: LoadedModel, adapter: LoadedAdapter | null): Trainable {
  const { parameters, settings } = adapter ?? { parameters: [], settings: null };
  return makeTrainable({
    ...{ executor, config, weights, parameters, keepLayers: 0 },
    loraScale: settings ? loraScale(settings) : 0,
  });
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
