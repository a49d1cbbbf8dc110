/**
 * What `ftl eval` measures of a model, base and tuned: the likelihood of references and choices with the engine that
 * trains, then answers with the engine that answers. What is known goes into the results at once.
 */
import { answerAll } from "../eval/answer.ts";
import { pickChoice, rowLosses } from "../eval/likelihood.ts";
import type { Question, QuestionSet } from "../eval/questions.ts";
import type { EvalResults, RowAnswer, Variant } from "../eval/results.ts";
import { scoreText } from "../eval/summary.ts";
import { loraScale } from "../model/adapter.ts";
import type { LoadedAdapter } from "../model/load_adapter.ts";
import type { RowLoss, Trainable } from "../model/trainable.ts";
import { makeTrainable } from "../model/trainable_model.ts";
import type { BaseAnswers } from "./base_answers.ts";
import { answeredRow, type Asking, choiceRow, questionIds } from "./eval_rows.ts";
import { generatorOf, type LoadedModel, type OpenedModel } from "./load.ts";
import type { Settings } from "./options.ts";

/** Tokens of a pass when losses are measured. */
const tokensPerPass = 1024;
/** Answers made together: as many as their keys and values have room for, in bytes of f32. */
const mostTogether = 32, cacheBytes = 2 ** 29;

export interface Measuring {
  items: Item[];
  asking: Asking;
  adapter: LoadedAdapter | null;
  settings: Settings<"eval">;
  signal: AbortSignal;
  show: (text: string) => void;
}

/** A question to one variant, and where what is known of its answer goes. */
export interface Item {
  variant: Variant;
  question: Question;
  answer: () => RowAnswer;
}

/** Every question to the base model and, where there is an adapter, to the tuned one, with its place in the results. */
export function itemsOf(
  { sets, results, adapter, asking, opened }: {
    sets: QuestionSet[];
    results: EvalResults;
    adapter: LoadedAdapter | null;
    asking: Asking;
    opened: OpenedModel;
  },
): Item[] {
  const maxLength = Math.min(asking.maxLength, opened.source.config.maxPositions);
  const all = sets.flatMap(({ questions }, s) =>
    questions.map((question, i) => ({ question, row: results.sets[s].rows[i] }))
  );
  const fitting = all.filter(({ question }) =>
    answeredRow(question, question.reference, { ...asking, maxLength }) !== null
  );
  if (fitting.length < all.length) {
    console.error(`left out, with more than ${maxLength} tokens: ${all.length - fitting.length} rows`);
  }
  const variants = adapter === null ? ["base"] as const : ["base", "tuned"] as const;
  return variants.flatMap((variant) =>
    fitting.map(({ question, row }): Item => ({ variant, question, answer: () => row[variant] ??= {} }))
  );
}

/** Fills in what is known of the base model; returns the items that are left, and what keeps them once they are measured. */
export function takeKnown(
  items: Item[],
  { known, model, settings, asking }: {
    known: BaseAnswers | null;
    /** What tells model and engine from others. */
    model: unknown;
    settings: Settings<"eval">;
    asking: Asking;
  },
): { left: Item[]; keep: () => void } {
  if (known === null) return { left: items, keep: () => {} };
  const partsOf = ({ question }: Item) => [
    ...[model, settings.max_new_tokens, questionIds(question, asking)],
    answeredRow(question, question.reference, asking)?.tokens,
    question.choices?.texts.map((text) => choiceRow(question, text, asking)?.tokens),
  ];
  const left = items.filter((item) => {
    const found = item.variant === "base" ? known.get(partsOf(item)) : undefined;
    if (!found) return true;
    Object.assign(item.answer(), found, found.text !== undefined && scoreText(found.text, item.question));
    return false;
  });
  return {
    left,
    keep: () =>
      known.add(
        left.filter(({ variant }) => variant === "base").map((item) => ({
          parts: partsOf(item),
          answer: item.answer(),
        })),
      ),
  };
}

/** The losses of references and choices of one variant, all in one list, so that passes are full. */
export async function measureLosses(model: LoadedModel, work: Measuring): Promise<void> {
  await eachVariant(work, async (items, { asking, adapter, signal, show }) => {
    const wanted = items.flatMap(({ question }, i) => {
      const reference = { i, isChoice: false, row: answeredRow(question, question.reference, asking) };
      const texts = question.choices?.texts ?? [];
      return [reference, ...texts.map((text) => ({ i, isChoice: true, row: choiceRow(question, text, asking) }))];
    }).flatMap(({ row, ...rest }) => row === null ? [] : [{ ...rest, row }]);
    const losses = await rowLosses(trainableOf(model, adapter), wanted.map(({ row }) => row), {
      tokensPerPass,
      signal,
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
  });
}

export async function answerQuestions(model: LoadedModel, work: Measuring): Promise<void> {
  await eachVariant(work, async (items, { asking, adapter, settings, signal, show }) => {
    const prompts = items.map(({ question }) => questionIds(question, asking));
    const { layers, kvHeads, headDim } = model.source.config, maxNewTokens = settings.max_new_tokens;
    const longest = Math.max(...prompts.map(({ length }) => length)) + maxNewTokens;
    const room = Math.floor(cacheBytes / (2 * 4 * layers * kvHeads * headDim * longest));
    const answers = answerAll(await generatorOf(model, adapter), prompts, {
      tokenizer: asking.tokenizer,
      maxNewTokens,
      together: Math.max(1, Math.min(mostTogether, room)),
      signal,
      progress: ({ answers, tokens }) => show(`${answers} of ${prompts.length} answers, ${tokens} tokens`),
    });
    for await (const { prompt, text, finish, tokens } of answers) {
      const { question, answer } = items[prompt];
      Object.assign(answer(), { text, finish, tokens, ...scoreText(text, question) });
    }
  });
}

/** Calls `measure` for the items of each variant, with that variant's adapter. */
async function eachVariant(
  work: Measuring,
  measure: (items: Item[], work: Omit<Measuring, "items">) => Promise<void>,
): Promise<void> {
  for (const [variant, items] of Map.groupBy(work.items, ({ variant }) => variant)) {
    if (work.signal.aborted) return;
    const adapter = variant === "tuned" ? work.adapter : null;
    await measure(items, { ...work, adapter, show: (text) => work.show(`${variant}: ${text}`) });
  }
}

function trainableOf({ executor, weights, source: { config } }: LoadedModel, adapter: LoadedAdapter | null): Trainable {
  const { parameters, settings } = adapter ?? { parameters: [], settings: null };
  return makeTrainable({
    ...{ executor, config, weights, parameters, keepLayers: 0 },
    loraScale: settings ? loraScale(settings) : 0,
  });
}
