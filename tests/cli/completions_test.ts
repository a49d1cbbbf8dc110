/**
 * What `ftl completions` prints, in the real shells: bash's own completion variables, fish's `complete -C`, and a zsh at
 * a terminal that is typed into. A shell that is not here is skipped with a line that says so, and fails where
 * FTL_REQUIRE_SHELLS=1, as in continuous integration.
 */
import assert from "node:assert/strict";
import { bashScript } from "../../lib/cli/completions_bash.ts";
import { fishScript } from "../../lib/cli/completions_fish.ts";
import { completed } from "../../lib/cli/completions_words.ts";
import { zshScript } from "../../lib/cli/completions_zsh.ts";
import { commandShapes } from "../../lib/cli/commands.ts";
import { flagOf, optionsOf } from "../../lib/cli/options.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const words = completed(await commandShapes(), { models: ["smollm2-135m"] });
const required = Deno.env.get("FTL_REQUIRE_SHELLS") === "1";

/** A line as far as it was typed, and everything that its last word may become. */
const cases: [line: string, candidates: string[]][] = [
  ["ftl tr", ["train"]],
  ["ftl co", ["compare", "completions"]],
  ["ftl train --eng", ["--engine"]],
  ["ftl train --engine d", ["dawn"]],
  ["ftl train --engine=d", ["dawn"]],
  ["ftl data --no", []],
  ["ftl train --no", ["--no-shuffle-dataset"]],
  ["ftl plan --card rtx-50", ["rtx-5090"]],
  ["ftl train -d my", ["my rows.csv"]],
  ["ftl train --data=row", ["rows.jsonl"]],
  ["ftl train -m Q", ["Qwen/Qwen3-0.6B"]],
  ["ftl run smo", ["smollm2-135m"]],
  ["ftl run runs/s", ["runs/smollm2-135m-1"]],
  ["ftl run runs/two r", []],
  ["ftl train --resume runs/t", ["runs/two"]],
  ["ftl export --to q8_0 runs/t", ["runs/two"]],
  ["ftl export runs/two --to q8_0,q6", ["q8_0,q6_k"]],
  ["ftl eval runs/two ro", ["rows.jsonl"]],
  ["ftl models r", ["remove"]],
  ["ftl models remove Q", ["Qwen/Qwen3-0.6B"]],
  ["ftl experiment si", ["sizes"]],
  ["ftl report runs/t", ["runs/two"]],
  ["ftl completions z", ["zsh"]],
];

/** Calls `body` in a folder with rows, run folders and a cache that holds one model. */
async function inPlace(script: string, body: (folder: string) => Promise<void>): Promise<void> {
  await inTempFolder(async (folder) => {
    for (const path of ["runs/smollm2-135m-1", "runs/two", "hub/models--Qwen--Qwen3-0.6B"]) {
      Deno.mkdirSync(`${folder}/${path}`, { recursive: true });
    }
    for (const name of ["rows.jsonl", "my rows.csv"]) Deno.writeTextFileSync(`${folder}/${name}`, "");
    Deno.writeTextFileSync(`${folder}/script`, script);
    await body(folder);
  });
}

/** What a shell prints; a hanging one is ended. */
async function output(shell: string, args: string[], folder: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(shell, {
    args,
    cwd: folder,
    env: { HF_HUB_CACHE: `${folder}/hub`, HOME: folder, TERM: "dumb" },
    stdin: "null",
    signal: AbortSignal.timeout(60_000),
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

async function isHere(shell: string): Promise<boolean> {
  try {
    return (await new Deno.Command(shell, { args: ["--version"], stdout: "null", stderr: "null" }).output()).success;
  } catch {
    if (!required) console.warn(`completion in ${shell} is not tested: it is not here (FTL_REQUIRE_SHELLS=1 fails)`);
    return false;
  }
}

function inShell(shell: string, name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os === "windows" || (!found[shell] && !required), fn });
}
const found: Record<string, boolean> = {};
for (const shell of ["bash", "zsh", "fish"]) found[shell] = await isHere(shell);

inShell("bash", "bash completes what ftl completions bash says", () =>
  inPlace(bashScript(words), async (folder) => {
    const asked = cases.map(([line]) => {
      // As bash cuts a line, with an empty last word behind a blank.
      const cut = line.split(/ |(=)/).filter((part) => part !== undefined);
      return `try ${cut.map((word) => `'${word}'`).join(" ")}`;
    });
    Deno.writeTextFileSync(
      `${folder}/test`,
      `source ./script
complete -p ftl > /dev/null || exit 1
try() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _ftl 2> /dev/null
  (IFS='|'; echo "\${COMPREPLY[*]}")
}
${asked.join("\n")}\n`,
    );
    check((await output("bash", ["--norc", "test"], folder)).trimEnd().split("\n").map((line) => line.split("|")));
  }));

inShell("fish", "fish completes what ftl completions fish says", () =>
  inPlace(fishScript(words), async (folder) => {
    const asked = cases.map(([line]) => `complete -C '${line}'; echo .`);
    const text = await output("fish", ["--no-config", "-c", `source script\n${asked.join("\n")}`], folder);
    check(
      text.split(/^\.\n/m).slice(0, cases.length).map((part) =>
        part.split("\n").map((line) => line.replace(/\t.*/, "").replace(/^--\w+=/, ""))
      ),
    );
  }));

inShell(
  "zsh",
  "a zsh that is typed into completes what ftl completions zsh says",
  () =>
    inPlace(zshScript(words), async (folder) => {
      // Control-X prints the line as Tab left it.
      Deno.writeTextFileSync(
        `${folder}/test`,
        `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT=; unsetopt zle_bracketed_paste beep; autoload -U compinit; compinit -u -d .dump; source ./script"
zpty -w z 'show() { print -r -- "<$BUFFER>"; BUFFER=; zle accept-line }; zle -N show; bindkey "^X" show'
zpty -w z 'bindkey "^I" complete-word; print rea"dy"'
zpty -r z seen '*ready*'
for line in "$@"; do
  zpty -w -n z "$line"$'\\t\\C-X'
  zpty -r z seen '*<ftl*>*'
  print -r -- "\${\${seen##*<}%%>*}"
done
zpty -d z\n`,
      );
      // A zsh at a terminal lists what is not decided yet; the line shows what is.
      const decided = cases.filter(([, candidates]) => candidates.length === 1);
      const text = await output("zsh", ["-f", "test", ...decided.map(([line]) => line)], folder);
      const expected = decided.map(([line, [word]]) => line.replace(/[^ =]*$/, () => word.replaceAll(" ", "\\ ")));
      // What may go on, such as a list or a folder, has a mark behind it.
      assert.deepEqual(text.trimEnd().split("\n").map((line) => line.replace(/[ ,/=]$/, "")), expected);
    }),
);

/** The candidates of every case, in any order, each once. */
function check(given: string[][]): void {
  const tidy = (list: string[]) => [...new Set(list.filter((word) => word !== ""))].toSorted();
  assert.deepEqual(
    given.map((list, i) => [cases[i][0], tidy(list.map((word) => word.replace(/\/$/, "")))]),
    cases.map(([line, candidates]) => [line, candidates]),
  );
}

Deno.test("completions know every option of every command, and the words of every choice", () => {
  for (const script of [bashScript(words), zshScript(words), fishScript(words)]) {
    for (const { name } of words.commands) {
      for (const [option, spec] of optionsOf(name)) {
        const isOff = spec.type === "boolean" && spec.default;
        const flag = (isOff ? "no-" : "") + flagOf(option).slice(2);
        assert.match(script, new RegExp(`(--|-l )${flag}\\b`), `${name}: ${option}`);
        const choices = spec.type === "choice" || spec.type === "list" ? spec.choices : [];
        for (const choice of choices) assert.ok(script.includes(choice), `${name} --${option} ${choice}`);
      }
    }
  }
});
