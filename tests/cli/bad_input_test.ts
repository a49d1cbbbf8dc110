/**
 * What a user can get wrong, one row of the table each: one clear line that says what and where, one that says what to
 * do, the right exit code, no stack, and nothing left behind under a final name.
 */
import assert from "node:assert/strict";
import { lockFolder } from "../../lib/files/lock.ts";
import { inWorkplace, rows, type Workplace } from "../helpers/ftl.ts";
import { readTinyModel, storeF32, type TinyModel, writeTensors } from "../helpers/tiny_model.ts";

interface Case {
  what: string;
  /** Arguments; "-o out" is added to those of train that have none. */
  args: string[];
  before?: (place: Workplace) => void | (() => void);
  says: RegExp;
  code?: 1 | 2;
}

const onRows = (content: string): Case["before"] => ({ write }) => write("rows.jsonl", content);
const train = ["train", "-m", "model", "-d", "rows.jsonl", "-s", "3", "-w", "0", "--questions", "0", "--threads", "1"];

/** Changes the model's tensors or configuration. */
function onModel(change: (model: TinyModel) => void): Case["before"] {
  return ({ folder }) => {
    const model = readTinyModel("llama_tied");
    change(model);
    const ids = { bos_token_id: 1, eos_token_id: 2 };
    Deno.writeTextFileSync(`${folder}/model/config.json`, JSON.stringify({ ...model.config, ...ids }));
    writeTensors(`${folder}/model/model.safetensors`, model.tensors);
  };
}

const norm = "model.norm.weight";
const good = rows.split("\n")[0];

const cases: Case[] = [
  {
    what: "an unknown command",
    args: ["trian"],
    says: /^ftl: Unknown command "trian", did you mean train\?$/,
    code: 2,
  },
  {
    what: "a GGUF adapter",
    args: [...train, "--init-adapter", "lora.gguf"],
    before: ({ write }) => write("lora.gguf", "GGUF"),
    says: /^ftl: --init-adapter lora\.gguf holds no adapter$/,
    code: 2,
  },
  {
    what: "a command by another tool's name",
    args: ["finetune"],
    says: /^ftl: Unknown command "finetune", did you mean train\?$/,
    code: 2,
  },
  { what: "an unknown flag", args: ["train", "--lr", "1"], says: /--lr: unknown flag/, code: 2 },
  {
    what: "a flag with one letter wrong",
    args: ["train", "--weight-decey", "1"],
    says: /did you mean --weight-decay\?/,
    code: 2,
  },
  {
    what: "a flag's value",
    args: ["train", "-r", "many"],
    says: /^ftl: --r: expected a whole number.* got "many"$/,
    code: 2,
  },
  { what: "a missing config file", args: ["train", "no.yaml"], says: /no\.yaml: no such file/ },
  {
    what: "an unknown key",
    args: ["train", "c.yaml"],
    before: ({ write }) => write("c.yaml", "r: 4\nlora_alfa: 8\n"),
    says: /^ftl: c\.yaml:2: lora_alfa: unknown setting, did you mean lora_alpha\?$/,
    code: 2,
  },
  { what: "a missing data file", args: [...train, "-d", "no.jsonl"], says: /Cannot \w+ no\.jsonl: no such file/ },
  { what: "a folder as data", args: [...train, "-d", "model"], says: /^ftl: model: this folder holds no data files$/ },
  {
    what: "a folder of save_to_disk as data",
    args: [...train, "-d", "saved"],
    before: ({ folder }) => {
      Deno.mkdirSync(`${folder}/saved/train`, { recursive: true });
      Deno.writeTextFileSync(`${folder}/saved/train/data-00000-of-00001.arrow`, "");
    },
    says: /^ftl: saved\/train\/data-00000-of-00001\.arrow: Arrow files are not read$/,
  },
  { what: "an empty dataset", args: train, before: onRows(""), says: /^ftl: rows\.jsonl: no rows$/ },
  { what: "blank lines only", args: train, before: onRows("\n  \n"), says: /^ftl: rows\.jsonl: no rows$/ },
  {
    what: "a line that is not JSON",
    args: train,
    before: onRows(`${good}\n{"instruction": "x"\n`),
    says: /^ftl: rows\.jsonl:2: not valid JSON/,
  },
  {
    what: "rows without an answer",
    args: train,
    before: onRows('{"instruction": "x", "input": "", "output": " "}\n'),
    says: /rows\.jsonl: none of the 1 rows can be trained on; the first, rows\.jsonl:1: no answer$/,
  },
  {
    what: "a row whose answer is a number",
    args: train,
    before: onRows(`${good}\n{"instruction": "x", "output": 5}\n`),
    says: /^ftl: rows\.jsonl:2: /,
  },
  {
    what: "CSV with one broken line",
    args: [...train, "-d", "rows.csv"],
    before: ({ write }) => write("rows.csv", 'instruction,output\na,b\n"a,b\n'),
    says: /^ftl: rows\.csv:3: a quote that is opened here, or later, is never closed$/,
  },
  {
    what: "a table with unknown columns",
    args: [...train, "-d", "rows.csv"],
    before: ({ write }) => write("rows.csv", "foo,bar\n1,2\n"),
    says: /^ftl: rows\.csv:1: no column is known as a question, a text or a conversation; the columns are foo, bar$/,
  },
  {
    what: "columns that say nothing",
    args: [...train, "--columns", "foo=bar"],
    says: /^ftl: columns: expected ROLE=COLUMN/,
    code: 2,
  },
  { what: "nothing to look at", args: ["data"], says: /^ftl: no data: name a file or a folder$/, code: 2 },
  {
    what: "a split that is not written",
    args: ["data", "rows.jsonl", "--eval-split", "0.5"],
    says: /^ftl: --eval-split: needs --output-file/,
    code: 2,
  },
  {
    what: "an unknown kind of output",
    args: ["data", "rows.jsonl", "--output-file", "x.csv"],
    says: /^ftl: --output-file: expected a name that ends in \.jsonl/,
    code: 2,
  },
  {
    what: "an output that exists",
    args: ["data", "rows.jsonl", "--output-file", "rows.jsonl"],
    says: /^ftl: Cannot write rows\.jsonl: it exists already$/,
  },
  {
    what: "rows that are all too long",
    args: [...train, "--max-length", "8"],
    says: /none of the 6 rows .* max_length is 8/,
  },
  { what: "a missing model", args: [...train, "-m", "./none"], says: /No model at \.\/none/ },
  { what: "an unknown model name", args: [...train, "-m", "smollm"], says: /Unknown model "smollm"/ },
  {
    what: "a truncated model",
    args: train,
    before: ({ folder }) => Deno.truncateSync(`${folder}/model/model.safetensors`, 20_000),
    says: /model\.safetensors/,
  },
  {
    what: "a file with the wrong magic",
    args: [...train, "-m", "m.gguf"],
    before: ({ write }) => write("m.gguf", "GGUX" + "\0".repeat(100)),
    says: /m\.gguf/,
  },
  {
    what: "an empty GGUF",
    args: [...train, "-m", "m.gguf"],
    before: ({ write }) => write("m.gguf", ""),
    says: /m\.gguf/,
  },
  {
    what: "a shape that contradicts the configuration",
    args: train,
    before: onModel(({ tensors }) => tensors.set(norm, storeF32(new Float32Array(63), [63]))),
    says: /"model\.norm\.weight" .* has shape \[63\], expected \[128\]/,
  },
  {
    what: "a missing tensor",
    args: train,
    before: onModel(({ tensors }) => tensors.delete(norm)),
    says: /Cannot find tensor "model\.norm\.weight"/,
  },
  {
    what: "an unknown architecture",
    args: train,
    before: onModel((model) => model.config = { ...model.config, model_type: "mamba", architectures: ["Mamba"] }),
    says: /mamba/,
  },
  {
    what: "an unknown dtype",
    args: train,
    before: onModel(({ tensors }) => {
      const { shape } = tensors.get(norm)!;
      tensors.set(norm, { dtype: "F8_E4M3", shape, bytes: new Uint8Array(shape[0]) });
    }),
    says: /F8_E4M3/,
  },
  {
    what: "NaN weights",
    args: train,
    before: onModel(({ tensors }) => {
      const data = new Float32Array(tensors.get(norm)!.shape[0]).fill(1);
      data[7] = NaN;
      tensors.set(norm, storeF32(data, [data.length]));
    }),
    says: /"model\.norm\.weight" .* holds NaN at element 7/,
  },
  {
    what: "a missing tokenizer",
    args: train,
    before: ({ folder }) => Deno.removeSync(`${folder}/model/tokenizer.json`),
    says: /tokenizer/,
  },
  {
    what: "a learning rate that makes the loss NaN",
    args: [...train, "-l", "1e30", "--max-grad-norm", "0", "-s", "10"],
    says: /^ftl: Training stopped at step \d+: .* at learning rate/,
  },
  {
    what: "an output folder with other files",
    args: [...train, "-o", "model"],
    says: /^ftl: Output folder in use: model holds other files/,
  },
  {
    what: "an output folder with an earlier run",
    args: [...train, "-o", "old"],
    before: ({ folder, write }) => {
      Deno.mkdirSync(`${folder}/old`);
      write("old/config.yaml", "r: 4\n");
    },
    says: /^ftl: Output folder in use: old holds an earlier run \(config\.yaml\)$/,
  },
  {
    what: "an output folder that another process holds",
    args: [...train, "-o", "held"],
    before: ({ folder }) => {
      Deno.mkdirSync(`${folder}/held`);
      const lock = lockFolder(`${folder}/held`);
      return () => lock.release();
    },
    says: /^ftl: Cannot use the folder held: process \d+ .* is writing to it$/,
  },
  {
    what: "an output folder below a file",
    args: [...train, "-o", "rows.jsonl/out"],
    says: /Cannot (make|use) the folder rows\.jsonl\/out: part of the path is a file/,
  },
  { what: "an output folder without permission", args: [...train, "-o", "/proc/out"], says: /\/proc\/out: / },
  { what: "a resume of something else", args: ["train", "--resume", "model"], says: /^ftl: Cannot \w+ model/ },
  { what: "an export of nothing", args: ["export"], says: /^ftl: Name what to export$/, code: 2 },
  {
    what: "an export without an adapter",
    args: ["export", "model", "--to", "lora"],
    says: /no adapter to export/,
    code: 2,
  },
  { what: "an empty question", args: ["run", "model", ""], says: /^ftl: The question is empty$/, code: 2 },
  {
    what: "an adapter that is not there",
    args: ["run", "model", "x", "-a", "none"],
    says: /^ftl: --adapter none holds no adapter$/,
    code: 2,
  },
];

for (const { what, args, before, says, code = 1 } of cases) {
  Deno.test(`ftl ${args[0]} says clearly: ${what}`, async () => {
    await inWorkplace(async (place) => {
      const after = before?.(place);
      const files = place.list(".");
      const own = args[0] === "train" && !args.includes("-o") && !args.includes("--resume");
      const result = await place.ftl(own ? [...args, "-o", "out"] : args);
      if (after) after();
      const lines = result.stderr.trimEnd().split("\n");
      const [message, hint] = lines.slice(-2);
      assert.equal(result.code, code, result.stderr);
      assert.match(hint.startsWith("  try: ") ? message : hint, says, result.stderr);
      assert.ok(!/^\s+at /m.test(result.stderr) && !result.stderr.includes("internal error"), result.stderr);
      assert.equal(result.stdout, "");
      assert.deepEqual(place.list("out").filter((name) => !/^(config\.yaml|log\.jsonl)$/.test(name)), []);
      assert.deepEqual(place.list(".").filter((name) => !["cache", "out"].includes(name)), files);
    });
  });
}

/** A small file system of one's own needs Linux and the right to make a user namespace. */
const unshare = (script: string, cwd: string) =>
  new Deno.Command("unshare", { args: ["-rm", "sh", "-c", script], cwd, stdin: "null" }).output();
const noFullDisk = Deno.build.os !== "linux" ||
  !(await unshare("mount -t tmpfs none /mnt", "/").then(({ success }) => success, () => false));
if (noFullDisk) console.log("bad_input_test: cannot mount a small file system here, a small disk is not tried");

Deno.test({
  name: "ftl train says before it begins that a disk has no room for the run",
  ignore: noFullDisk,
  async fn() {
    await inWorkplace(async ({ folder }) => {
      Deno.mkdirSync(`${folder}/small`);
      const main = new URL("../../main.ts", import.meta.url).pathname;
      const { code, stderr } = await unshare(
        `mount -t tmpfs -o size=200k none small && FTL_CACHE=${folder}/cache ${Deno.execPath()} run -A --quiet ${main} ` +
          `${train.join(" ")} -o small/out; code=$?; find small -type f >&2; exit $code`,
        folder,
      );
      const said = new TextDecoder().decode(stderr);
      assert.equal(code, 1, said);
      assert.match(
        said,
        /^ftl: This run, for .*, needs 1\.0 MB in small\/out, \S+ kB are free\n {2}try: Free some space/m,
      );
      const files = said.split("\n").filter((line) => line.startsWith("small/")).sort();
      assert.deepEqual(files, ["small/out/config.yaml"]);
    });
  },
});
