/**
 * Every command that README and docs show is run, page by page and in order, with tiny stand-ins for models
 * (tests/helpers/docs_place.ts). What cannot be run here stands in a table with the reason; commands of ftl among it, and
 * those inside the text, are at least read by the option parser.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import manifest from "../../deno.json" with { type: "json" };
import { commandShapes } from "../../lib/cli/commands.ts";
import { firstExamples } from "../../lib/cli/overview.ts";
import { commandsOf, ftlArguments, inlineCommandsOf, problemsOf, type ShownCommand } from "../helpers/docs_commands.ts";
import { type DocsPlace, makeDocsPlace, standInRepos } from "../helpers/docs_place.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { withHub } from "../helpers/hub_server.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const root = new URL("../..", import.meta.url).pathname;
const inDocs = filesBelow(join(root, "docs")).filter((path) => path.endsWith(".md")).map((path) => `docs/${path}`);
/** README first, from nothing; the others begin with what it leaves. Pages of single commands last. */
const pages = ["README.md", "docs/first-hour.md", ...inDocs.toSorted((a, b) => depth(a) - depth(b))]
  .filter((page, i, all) => all.indexOf(page) === i);
const textOf = (page: string) => Deno.readTextFileSync(join(root, page));
const shown = pages.map((page) => commandsOf(page, textOf(page)));
const shapes = await commandShapes();

/** Not run here, and why. */
const notRun: [RegExp, string][] = [
  [/^npx -y deno@\S+ task test$/, "it runs this test"],
  [/^(npx -y deno@\S+|deno) task build\b/, "tests/e2e/one_file_test.ts builds and runs the one file"],
  [/--wheel /, "the wheel of 93 MB is not here; tests/hub/pull_test.ts takes models from wheels"],
  [/^ftl pull smollm2-135m --check$/, "the stand-in has other bytes; tests/hub/pull_test.ts checks checksums"],
  [/^ftl pull Qwen\/Qwen3-0\.6B-GGUF/, "no stand-in; tests/hub/pull_repo_test.ts fetches single GGUF files"],
  [/openai:/, "it asks a paid service; tests/cli/compare_test.ts and eval_test.ts ask a server of their own"],
  [/#qwen$/, "it asks a server that the reader has; tests/cli/compare_test.ts asks one"],
  [/^ollama |^llama-cli /, "another program; tests/e2e and tests/export load the same files into real llama.cpp"],
  [/^pip /, "it fetches 93 MB"],
];

/** Programs that are used where they are there. */
const optional = ["curl", "man"].filter((program) => !isHere(program));

Deno.test("every command of ftl in README, docs and ftl --help is one that its option parser takes", () => {
  const inText = pages.flatMap((page) => inlineCommandsOf(page, textOf(page)));
  const inHelp = firstExamples.map(([text], i): ShownCommand => ({ page: "ftl --help", line: i, text }));
  const all = [...shown.flat(), ...inText, ...inHelp];
  const wrong = all.flatMap((command) => {
    const { page, line, text } = command, args = ftlArguments(text);
    const problems = args === undefined ? [] : problemsOf(args, shapes);
    // The text may name a setting without a value.
    return problems.filter((problem) => !inText.includes(command) || !problem.endsWith("argument missing"))
      .map((problem) => `${page}:${line}: ${text}: ${problem}`);
  });
  assert.deepEqual(wrong, []);
  assert.ok(all.length > 100, "the pages are read");
});

Deno.test("the reasons for not running commands are all needed, and tasks that are shown exist", () => {
  const texts = shown.flat().map(({ text }) => text);
  assert.deepEqual(notRun.filter(([pattern]) => !texts.some((text) => pattern.test(text))), []);
  const tasks = texts.flatMap((text) => /\btask (\w+)/.exec(text)?.[1] ?? []);
  assert.deepEqual(tasks.filter((task) => !Object.hasOwn(manifest.tasks, task)), []);
});

Deno.test({
  name: "every command in README and docs runs",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inTempFolder((folder) =>
      withHub(standInRepos(folder), async ({ endpoint }) => {
        for (const program of optional) console.warn(`commands of ${program} are not run: it is not here`);
        const place = await makeDocsPlace(folder, { hub: endpoint });
        const before = new Set<string>();
        for (const commands of shown) await runPage(commands, { place, before });
      })
    ),
});

/** Runs the commands of a page in order; what an earlier page had too is run once. */
async function runPage(
  commands: ShownCommand[],
  { place, before }: { place: DocsPlace; before: Set<string> },
): Promise<void> {
  if (commands.length === 0) return;
  const { page } = commands[0];
  const cwd = place.page(page, { begun: page !== pages[0] });
  let server: Server | undefined;
  try {
    for (const { line, text } of commands) {
      if (notRun.some(([pattern]) => pattern.test(text)) || optional.some((name) => text.includes(`${name} `))) {
        continue;
      }
      const where = `${page}:${line}: ${text}`, isServe = ftlArguments(text)?.[0] === "serve";
      if (before.has(sameAs(text)) && !isServe) continue;
      before.add(sameAs(text));
      if (isServe) {
        await server?.stop();
        server = await startServer(text, { where, place, cwd });
      } else await run(text.replaceAll("127.0.0.1:8080", () => server!.address), { where, place, cwd });
    }
  } finally {
    await server?.stop();
  }
}

async function run(
  text: string,
  { where, place, cwd }: { where: string; place: DocsPlace; cwd: string },
): Promise<void> {
  const child = new Deno.Command("bash", {
    args: ["-o", "pipefail", "-c", text],
    ...{ cwd, env: place.env, stdin: "piped", stdout: "piped", stderr: "piped" },
    signal: AbortSignal.timeout(120_000),
  }).spawn();
  // For ftl run without a question.
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("What is batik?\n")).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, `${where}\n${said}`);
}

/** What a command does, however the program is called in it. */
function sameAs(text: string): string {
  return /[|<>$=]/.test(text) ? text : JSON.stringify(ftlArguments(text) ?? text);
}

interface Server {
  /** "127.0.0.1:40123" */
  address: string;
  stop(): Promise<void>;
}

/** Starts `ftl serve` on a free port and waits until it listens. */
async function startServer(
  text: string,
  { where, place, cwd }: { where: string; place: DocsPlace; cwd: string },
): Promise<Server> {
  const child = new Deno.Command("bash", {
    args: ["-c", text.includes("--port") ? text : `${text} --port 0`],
    ...{ cwd, env: place.env, stdin: "null", stdout: "piped", stderr: "inherit" },
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "", address: string | undefined;
  while (address === undefined) {
    const { done, value } = await reader.read();
    assert.ok(!done, `${where}\n${said}`);
    said += value;
    address = /^API .*:(\d+)\/v1/m.exec(said)?.[1];
  }
  return {
    address: `127.0.0.1:${address}`,
    async stop() {
      child.kill("SIGTERM");
      while (!(await reader.read()).done);
      assert.equal((await child.status).code, 0, where);
    },
  };
}

function depth(path: string): number {
  return path.split("/").length;
}

function isHere(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(join(folder, program)).isFile;
    } catch {
      return false;
    }
  });
}
