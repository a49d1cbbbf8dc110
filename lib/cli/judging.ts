/** The judge of `ftl eval`: every answer shown to another model with the question and the reference, a verdict each. */
import { checkTemplate, fillTemplate, judgePrompt, verdictOf } from "../eval/judge.ts";
import type { RowAnswer, RowResult } from "../eval/results.ts";
import { ChatFailure } from "../hub/chat_failure.ts";
import { makeRemoteModel, type RemoteModel } from "../hub/remote_model.ts";
import { readText } from "../model/model_files.ts";
import type { Settings } from "./options.ts";
import { readRemote } from "./remotes.ts";

export interface Judge {
  /** As it was named. */
  name: string;
  prompt: string;
  model: RemoteModel;
}

/** The judge that was asked for, or null. Errors: UserError for a name, a key or a prompt that will not do. */
export function makeJudge(settings: Settings<"eval">): Judge | null {
  const { judge: name, judge_prompt: path, key_env, timeout, retries, per_minute, seed } = settings;
  if (name === null) return null;
  const { endpoint } = readRemote(name, { keyName: key_env });
  const prompt = path === null ? judgePrompt : readText(path);
  if (path !== null) checkTemplate(prompt, path);
  const model = makeRemoteModel({ endpoint, retries, timeout: timeout * 1000, perMinute: per_minute, seed });
  return { name, prompt, model };
}

/** Tokens of a verdict: one word, or a short thought and a word. */
const verdictTokens = 400;

/** Gives each answer its verdict. Returns why answers went without one, by how many. */
export async function judgeRows(
  judge: Judge,
  rows: RowResult[],
  { seed, atOnce, signal, progress }: {
    seed: number;
    atOnce: number;
    signal: AbortSignal;
    progress: (done: number, total: number) => void;
  },
): Promise<Map<string, number>> {
  const failures = new Map<string, number>();
  const asked = rows.flatMap((row) =>
    [row.base, row.tuned].flatMap((answer) => answer?.text === undefined ? [] : [{ row, answer }])
  );
  let next = 0, done = 0;
  const ask = async ({ row: { question, reference }, answer }: { row: RowResult; answer: RowAnswer }) => {
    const content = fillTemplate(judge.prompt, { question, reference, answer: answer.text! });
    const messages = [{ role: "user", content }];
    try {
      const reply = await judge.model.ask({ messages, temperature: 0, seed, maxTokens: verdictTokens }, signal);
      answer.judge_said = reply.text;
      answer.judged = reply.finish === "refused" ? null : verdictOf(reply.text);
      if (answer.judged === null) count(failures, "said neither CORRECT nor INCORRECT");
    } catch (error) {
      if (!(error instanceof ChatFailure)) throw error;
      [answer.judged, answer.judge_said] = [null, error.message];
      count(failures, error.message);
    }
    progress(++done, asked.length);
  };
  const worker = async () => {
    while (next < asked.length && !signal.aborted) await ask(asked[next++]);
  };
  const workers = await Promise.allSettled(Array.from({ length: Math.min(atOnce, asked.length) }, worker));
  if (!signal.aborted) { for (const { reason } of workers.filter(isRejected)) throw reason; }
  return failures;
}

const isRejected = (result: PromiseSettledResult<void>): result is PromiseRejectedResult =>
  result.status === "rejected";

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}
