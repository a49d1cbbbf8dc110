/**
 * `ftl data`: rows as the model will see them, before anything is trained: what is learnt of each, what was cleaned, how
 * long rows are and which max_length they need. Goes the way of `ftl train` up to the tokens; loads no weights.
 */
import { UserError } from "../errors.ts";
import { cleanedRows } from "../data/dataset.ts";
import { isChat, isText, type Row } from "../data/rows.ts";
import { requireWritable, writeAtomicStreams } from "../files/atomic.ts";
import { kindOfPath } from "../model/model_files.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { chooseFiles } from "./data_files.ts";
import { examineRows, showFindings, showRows } from "./data_report.ts";
import { openNamedModel } from "./load.ts";
import { optionsOf, type Settings } from "./options.ts";
import { problemsError, resolveTrain } from "./resolve.ts";
import { type DataSettings, prepareRows, readingOf, type TrainingRows } from "./rows.ts";
import { hasColours } from "./terminal.ts";

export const shape: CommandShape = {
  name: "data",
  summary: "Shows rows as the model will see them, and what of them is learnt: cleaned, counted in tokens, split.",
  usage: "<file or folder...>",
  most: 1000,
  takes: [{ kinds: ["file"] }],
  examples: [
    ["ftl data rows.jsonl", "the first rows, what was cleaned, how long they are"],
    ["ftl data table.csv --columns instruction=Q,output=A", "a table whose columns have other names"],
    ["ftl data chats.parquet -m models/Qwen3-0.6B --rows 10", "with another model's tokenizer and chat template"],
    ["ftl data rows.xlsx -o clean.jsonl --eval-split 0.1", "write clean.train.jsonl and clean.eval.jsonl"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const own = settingsOf("data", line);
  if (line.positional.length === 0) throw problemsError(["no data: name a file or a folder"], "data");
  const outputs = outputsOf(own);
  const training = new Set<string>(optionsOf("train").map(([name]) => name));
  const flags = Object.fromEntries(Object.entries(line.flags).filter(([name]) => training.has(name)));
  const { settings } = resolveTrain({ flags: { ...flags, data: line.positional }, command: "data" });

  const files = await chooseFiles(settings);
  const { tokenizer, source } = await openNamedModel(settings.model);
  source.close();
  const rows = await prepareRows(settings, files, tokenizer);
  const findings = examineRows(rows, { settings, tokenizer, shown: own.rows });
  const written = await writeRows(rows, { settings, outputs });
  if (own.json) {
    console.log(JSON.stringify({ ...findings, written }, null, 2));
    return 0;
  }
  const parts = [showFindings(findings), showRows(findings, { colours: hasColours() }), written.join("\n")];
  console.log(parts.filter((part) => part !== "").join("\n\n"));
  return 0;
}

/** Files to be written: the training rows' first, that of rows held out second. */
function outputsOf({ output_file: out, eval_split: split }: Settings<"data">): string[] {
  if (out === null) {
    if (split > 0) throw problemsError(["--eval-split: needs --output-file, the file to write"], "data");
    return [];
  }
  if (!/\.jsonl$/i.test(out)) {
    throw problemsError([`--output-file: expected a name that ends in .jsonl, got "${out}"`], "data");
  }
  const stem = out.replace(/\.jsonl$/i, "");
  const outputs = split > 0 ? [`${stem}.train.jsonl`, `${stem}.eval.jsonl`] : [out];
  for (const path of outputs) {
    if (kindOfPath(path) !== "nothing") {
      throw new UserError(`Cannot write ${path}: it exists already`, { hint: "Choose another name or remove it." });
    }
    requireWritable(path);
  }
  return outputs;
}

/** Writes the cleaned rows, read once more, and says what was written. */
async function writeRows(
  { files, train, held }: TrainingRows,
  { settings, outputs }: { settings: DataSettings; outputs: string[] },
): Promise<string[]> {
  if (outputs.length === 0) return [];
  const encoder = new TextEncoder();
  const copy = async (to: (index: number) => (bytes: Uint8Array) => void) => {
    let index = 0;
    for await (const row of cleanedRows(files, { ...readingOf(settings), notes: [] })) {
      to(index++)(encoder.encode(JSON.stringify(withoutPlace(row)) + "\n"));
    }
  };
  const isHeld = new Set(held);
  await writeAtomicStreams(
    outputs,
    ([writeTrain, writeHeld]) => copy((index) => isHeld.has(index) ? writeHeld : writeTrain),
  );
  return [train, held].slice(0, outputs.length).map(({ length }, i) => `wrote ${outputs[i]}: ${length} rows`);
}

/** The keys that every fine-tuner reads. */
function withoutPlace(row: Row): Record<string, unknown> {
  if (isText(row)) return { text: row.text };
  if (!isChat(row)) return { instruction: row.instruction, input: row.input, output: row.output };
  return { messages: row.messages, ...(row.tools ? { tools: row.tools } : {}) };
}
