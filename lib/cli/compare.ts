/**
 * `ftl compare`: the same questions to any number of models, local ones and remote ones; how right, how fast, how dear and
 * how large they are. Every answer is kept as it comes: the same command goes on where it was stopped.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { type ComparedAnswer, type CompareResults, summarizeModel } from "../eval/comparison.ts";
import type { QuestionSet } from "../eval/questions.ts";
import { scoreText } from "../eval/summary.ts";
import { makeFolder } from "../files/folder.ts";
import { lockFolder } from "../files/lock.ts";
import { type AnswerLog, openAnswerLog } from "./answer_log.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { showComparison, writeComparison } from "./compare_report.ts";
import {
  type Asked,
  askLocal,
  askRemote,
  type CompareSettings,
  type LocalContestant,
  temperature,
} from "./contestants.ts";
import { questionSets } from "./eval_rows.ts";
import { dropNetwork } from "./network.ts";
import { versionNumber } from "./overview.ts";
import { liveLine } from "./progress.ts";
import { fetchModel } from "./pull.ts";
import { readPrices, readRemote, type Remote } from "./remotes.ts";
import { isRunFolder } from "./run_folder.ts";
import { lookUp } from "./saved_run.ts";
import { onInterrupt, StoppedError } from "./terminal.ts";

export const shape: CommandShape = {
  name: "compare",
  summary:
    "Asks any number of models the same questions: base models, runs and adapters, GGUF files, and remote ones\n" +
    "behind any OpenAI-compatible address. Answers are kept as they come; the same command again asks only for the rest.",
  usage: "[run folder | adapter folder | model...]",
  most: 2000,
  takes: [{ kinds: ["run", "model"] }],
  examples: [
    ["ftl compare smollm2-135m runs/smollm2-135m-1", "base beside tuned, on the run's own questions"],
    ["ftl compare runs/a runs/b --data rows.jsonl", "two runs, rows of your own"],
    [
      "ftl compare runs/a --remote openai:gpt-4o-mini --price openai:gpt-4o-mini=0.15/0.60",
      "with a remote model and its price (key from OPENAI_API_KEY)",
    ],
    [
      "ftl compare runs/a --remote http://127.0.0.1:8080/v1#qwen",
      "with a server of your own (key from FTL_REMOTE_KEY)",
    ],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("compare", line), { positional } = line;
  const { local, remote } = contestantsOf(positional, settings);
  const sets = await questionSets({
    files: settings.data,
    what: positional.find(isRunFolder) ?? null,
    limit: settings.limit,
  });
  const folder = settings.output_dir ?? "compare";
  makeFolder(folder);
  const lock = lockFolder(folder);
  const live = liveLine();
  const interrupt = onInterrupt(() => {
    live.end();
    console.error("stopping; what is known follows. Press Ctrl-C again to quit at once");
  });
  let log: AnswerLog | undefined, results: CompareResults;
  try {
    log = openAnswerLog(join(folder, "answers.jsonl"));
    const questions = sets.flatMap(({ questions }) => questions);
    const asking = { questions, log, settings, signal: interrupt.signal, show: (text: string) => live.show(text) };
    for (const { named } of local) await fetchModel(named.model);
    const asked = await Promise.all(remote.map(({ price, ...one }) => askRemote(one, { ...asking, price })));
    await dropNetwork();
    for (const group of Map.groupBy(local, ({ named }) => named.model).values()) {
      asked.unshift(...await askLocal(group, asking));
    }
    const inOrder = [...positional, ...settings.remote].flatMap((name) =>
      asked.find(({ facts }) => facts.name === name)!
    );
    results = resultsOf(inOrder, { sets, log, settings });
    writeComparison(folder, results);
  } finally {
    live.end();
    interrupt.release();
    log?.close();
    lock.release();
  }
  console.log(settings.json ? JSON.stringify(results, null, 2) : showComparison(results));
  if (!settings.json) console.error(`\nevery answer, and the tables as CSV: ${folder}/`);
  const unanswered = results.models.reduce((sum, { failed }) => sum + failed, 0);
  if (unanswered > 0) {
    const what = unanswered === 1 ? "1 answer is" : `${unanswered} answers are`;
    console.error(`${what} missing; the same command asks again`);
  }
  if (interrupt.signal.aborted) throw new StoppedError();
  return unanswered > 0 ? 1 : 0;
}

/** Errors: UserError, exit code 2, for names, keys and prices that will not do. */
function contestantsOf(
  positional: string[],
  settings: CompareSettings,
): { local: LocalContestant[]; remote: (Remote & { price: LocalContestant["price"] })[] } {
  const names = [...positional, ...settings.remote];
  if (names.length === 0) {
    throw new UserError("Name the models to compare", { hint: "ftl compare smollm2-135m runs/x", exitCode: 2 });
  }
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) {
    throw new UserError(`${twice} is named twice`, { hint: "name each model once", exitCode: 2 });
  }
  const prices = readPrices(settings.price);
  const unknown = [...prices.keys()].find((name) => !names.includes(name));
  if (unknown !== undefined && settings.price.some((text) => text.startsWith(`${unknown}=`))) {
    throw new UserError(`--price: ${unknown} is none of the models`, {
      hint: `they are ${names.join(", ")}`,
      exitCode: 2,
    });
  }
  const priceOf = (name: string) => prices.get(name) ?? null;
  return {
    local: positional.map((name) => ({ name, named: lookUp(name), price: priceOf(name) })),
    remote: settings.remote.map((name) => ({
      ...readRemote(name, { keyName: settings.key_env }),
      price: priceOf(name),
    })),
  };
}

function resultsOf(
  asked: Asked[],
  { sets, log, settings }: { sets: QuestionSet[]; log: AnswerLog; settings: CompareSettings },
): CompareResults {
  const { max_new_tokens, limit, seed } = settings;
  const places = sets.flatMap(({ questions }, set) => questions.map((question, row) => ({ set, row, question })));
  const models = asked.map(({ facts, keys }) => {
    const answers = places.map(({ set, row, question }, i): ComparedAnswer => {
      const logged = log.get(keys[i]);
      if (logged?.text === undefined) return { set, row, error: logged?.error ?? "not asked" };
      const { key: _key, model: _model, question: _question, ...answer } = logged;
      return { set, row, ...answer, ...scoreText(logged.text, question) };
    });
    return summarizeModel(facts, answers, { sets: sets.length, seed });
  });
  return {
    format: "ftl-compare/1",
    version: versionNumber,
    created: new Date().toISOString(),
    complete: models.every(({ failed }) => failed === 0),
    settings: { max_new_tokens, temperature, limit, seed },
    sets: sets.map(({ name, role, source, questions }) => ({
      ...{ name, role, source },
      rows: questions.map(({ place, shown, reference }) => ({ place, question: shown, reference })),
    })),
    models,
  };
}
