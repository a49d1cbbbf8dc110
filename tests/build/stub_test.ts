/**
 * The start script of the one file under the shells that systems have as sh, and with other tools than GNU's: busybox,
 * and bsdtar, which macOS has. A small archive stands for the real one, in it a script for Deno that tells what it was
 * given.
 */
import assert from "node:assert/strict";
import { oneFile } from "../../lib/build/one_file.ts";
import { startFlags } from "../../lib/build/start_flags.ts";

const fakeDeno = `#!/bin/sh
[ "$1" != --version ] || exit 0
for arg; do printf '<%s>' "$arg"; done
printf '\\n%s\\n%s\\n' "$FTL_PROGRAM" "$DENO_DIR"
exit 7
`;
const bytes = (text: string) => new TextEncoder().encode(text);
const file = oneFile(
  [
    { name: "deno", bytes: bytes(fakeDeno), executable: true },
    { name: "main.js", bytes: bytes("main") },
    { name: "node_modules/a/b.js", bytes: crypto.getRandomValues(new Uint8Array(60_000)) },
  ],
  { version: "ftl 1.2.3", system: "unix" },
);

/** What is sh somewhere: Debian, macOS (bash 3.2, and zsh), Alpine, Android, BSDs. Its first word is a program. */
const shells = ["dash", "bash --posix", "zsh --emulate sh", "busybox sh", "mksh"];
const tools = ["id", "mkdir", "mv", "rm", "tail", "tar", "gzip", "tr", "wc"];

function pathOf(program: string): string | undefined {
  return (Deno.env.get("PATH") ?? "").split(":").map((folder) => `${folder}/${program}`).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

interface Place {
  /** The file, in a folder with blanks and umlauts. */
  program: string;
  cache: string;
  /** Folder of the only tools on PATH. */
  bin: string;
}

async function inPlace(links: Record<string, string>, body: (place: Place) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  const place = { program: `${folder}/Zoë's $HOME/ftl`, cache: `${folder}/a cache`, bin: `${folder}/bin` };
  try {
    Deno.mkdirSync(`${folder}/Zoë's $HOME`);
    Deno.mkdirSync(place.bin);
    Deno.writeFileSync(place.program, file, { mode: 0o755 });
    for (const [name, path] of Object.entries(links)) Deno.symlinkSync(path, `${place.bin}/${name}`);
    await body(place);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function start(shell: string, { program, cache, bin }: Place, args: string[]) {
  const [first, ...options] = shell.split(" ");
  const { code, stdout, stderr } = await new Deno.Command(pathOf(first)!, {
    args: [...options, program, ...args],
    clearEnv: true,
    env: { PATH: bin, FTL_CACHE: cache },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

function have(programs: string[], name: string): boolean {
  const missing = programs.filter((program) => !pathOf(program));
  if (missing.length === 0) return true;
  console.log(`skipped: ${name}: there is no ${missing.join(", ")}`);
  assert.ok(!Deno.env.get("FTL_REQUIRE_SHELLS"), "FTL_REQUIRE_SHELLS is set");
  return false;
}

const args = ["run", "a b", "", 'it\'s "$HOME" *', "漢字\n"];

/** Two first starts at once, a later one, and what it says of a copy that was cut short. */
async function startsWell(shell: string, place: Place): Promise<void> {
  const results = await Promise.all([start(shell, place, args), start(shell, place, args)]);
  const [app, ...others] = [...Deno.readDirSync(place.cache)].map(({ name }) => `${place.cache}/${name}`);
  assert.deepEqual(others, []);
  results.push(await start(shell, place, args));
  const given = ["run", ...startFlags, `${app}/main.js`, ...args].map((arg) => `<${arg}>`).join("");
  for (const { code, stdout, stderr } of results) {
    assert.deepEqual([code, stderr], [7, ""]);
    assert.equal(stdout, `${given}\n${place.program}\n${app}/deno-dir\n`);
  }
  Deno.removeSync(place.cache, { recursive: true });
  Deno.truncateSync(place.program, file.length - 1);
  const { code, stderr } = await start(shell, place, args);
  assert.equal(code, 1);
  assert.match(
    stderr,
    new RegExp(`is broken: it has ${file.length - 1} bytes, expected ${file.length}\n {2}try: copy`),
  );
}

const installed = Object.fromEntries(["sh", ...tools].map((tool) => [tool, pathOf(tool) ?? ""]));

for (const shell of shells) {
  const name = `the one file starts under ${shell}`;
  Deno.test({
    name,
    ignore: Deno.build.os === "windows" || !have(shell.split(" ", 1), name),
    fn: () => inPlace(installed, (place) => startsWell(shell, place)),
  });
}

Deno.test({
  name: "the one file starts with busybox's tools alone",
  ignore: Deno.build.os === "windows" || !have(["busybox"], "with busybox's tools"),
  fn: () =>
    inPlace(
      Object.fromEntries(["sh", ...tools].map((tool) => [tool, pathOf("busybox")!])),
      (place) => startsWell("busybox sh", place),
    ),
});

Deno.test({
  name: "the one file starts with bsdtar as tar",
  ignore: Deno.build.os === "windows" || !have(["bsdtar"], "with bsdtar"),
  fn: () => inPlace({ ...installed, tar: pathOf("bsdtar") ?? "" }, (place) => startsWell("dash", place)),
});

Deno.test({
  name: "a file for Windows is read by bsdtar from its standard input, as its start script has it",
  ignore: !have(["bsdtar"], "with bsdtar"),
  async fn() {
    const folder = Deno.makeTempDirSync();
    try {
      const content = crypto.getRandomValues(new Uint8Array(50_000));
      const files = [{ name: "deno.exe", bytes: content }, { name: "a/b/main.js", bytes: bytes("main") }];
      Deno.writeFileSync(`${folder}/ftl.cmd`, oneFile(files, { version: "ftl 1.2.3", system: "windows" }));
      Deno.mkdirSync(`${folder}/app`);
      const script = 'cd "$1/app" && bsdtar -xf - < ../ftl.cmd';
      const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script, "sh", folder] }).output();
      assert.deepEqual([code, new TextDecoder().decode(stderr)], [0, ""]);
      assert.deepEqual(Deno.readFileSync(`${folder}/app/deno.exe`), content);
      assert.equal(Deno.readTextFileSync(`${folder}/app/a/b/main.js`), "main");
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
