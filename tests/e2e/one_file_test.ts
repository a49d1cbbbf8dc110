/**
 * The one-file program: built twice to the same bytes, moved to an empty folder, and run there without Deno, Node or
 * Python on PATH and with an empty environment, where it trains, exports and answers; the same on a machine without a
 * network (helpers/airgap.ts). Also what it does when its copy is broken and when two start at once for the first time.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import manifest from "../../deno.json" with { type: "json" };
import { makeTinyFolder } from "../helpers/tiny_folders.ts";
import { rows } from "../helpers/ftl.ts";

const root = new URL("../..", import.meta.url).pathname;
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Builds in a folder of the project; returns what the build printed. */
async function build(folder: string, { to, env }: { to: string; env?: Record<string, string> }): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", 'umask "${TEST_UMASK:-022}" && exec "$@"', "sh", Deno.execPath(), "run", "-A", "--quiet"].concat(
      `${folder}/lib/build/build.ts`,
      to,
    ),
    env,
  }).output();
  assert.equal(code, 0, decode(stderr));
  return decode(stdout);
}

/** The files of the project in another folder, whose git is this one's. */
async function copyProject(to: string): Promise<Record<string, string>> {
  const git = async (...args: string[]) =>
    decode((await new Deno.Command("git", { args, cwd: root }).output()).stdout).trim();
  for (const path of (await git("ls-files", "-z", "--cached", "--others", "--exclude-standard")).split("\0")) {
    if (path === "") continue;
    Deno.mkdirSync(dirname(`${to}/${path}`), { recursive: true });
    Deno.copyFileSync(`${root}/${path}`, `${to}/${path}`);
  }
  return { GIT_DIR: await git("rev-parse", "--absolute-git-dir"), GIT_WORK_TREE: to, GIT_OPTIONAL_LOCKS: "0" };
}

/** Whether this process may make namespaces; where it must, and may not, tests fail. */
function mayUnshare(): boolean {
  if (Deno.build.os !== "linux") return false;
  const { success } = new Deno.Command("unshare", { args: ["--net", "--mount", "true"], stderr: "null" }).outputSync();
  return success;
}

const versions = new RegExp(
  `^ftl ${RegExp.escape(manifest.version)}` + /( \(commit [0-9a-f]{10}(-dirty)?, \d{4}-\d\d-\d\d\))?\n/.source +
    /Deno \d\S+, V8 \d\S+, ONNX Runtime \d\S+, Dawn of webgpu \d\S+\n$/.source,
);

/** What the file may need of a machine, and nothing else. */
const tools = ["sh", "cat", "chmod", "gzip", "id", "mkdir", "mv", "rm", "tail", "tar", "tr", "uname", "wc"];

function binFolder(folder: string): string {
  const bin = `${folder}/bin`;
  Deno.mkdirSync(bin);
  for (const tool of tools) {
    const found = ["/usr/bin", "/bin"].map((place) => `${place}/${tool}`).find((path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    });
    if (found) Deno.symlinkSync(found, `${bin}/${tool}`);
  }
  return bin;
}

Deno.test({
  name: "deno task build makes one file that trains, exports and runs on a bare machine",
  ignore: Deno.build.os === "windows",
  async fn(t) {
    const folder = Deno.makeTempDirSync();
    const bare = (args: string[], env: Record<string, string> = {}, cwd = `${folder}/empty`) =>
      new Deno.Command("./ftl", { args, cwd, clearEnv: true, env, stdin: "null", stdout: "piped", stderr: "piped" });
    const run = async (args: string[], env: Record<string, string> = {}, cwd?: string) => {
      const { code, stdout, stderr } = await bare(args, env, cwd).output();
      return { code, stdout: decode(stdout), stderr: decode(stderr) };
    };
    try {
      const PATH = binFolder(folder);
      Deno.mkdirSync(`${folder}/empty`);
      const cache = { PATH, FTL_CACHE: `${folder}/cache` };

      await t.step("it builds, in another place under other settings to the same bytes", async () => {
        const git = await copyProject(`${folder}/copy`);
        const elsewhere = {
          ...git,
          TEST_UMASK: "077",
          TZ: "Asia/Tokyo",
          LC_ALL: "C",
          HOME: Deno.env.get("HOME") ?? "",
        };
        const [said] = await Promise.all([
          build(root, { to: `${folder}/empty/ftl` }),
          build(`${folder}/copy`, { to: `${folder}/copy/ftl`, env: elsewhere }),
        ]);
        const [one, other] = ["empty", "copy"].map((place) => Deno.readFileSync(`${folder}/${place}/ftl`));
        assert.ok(one.length < 75e6, `${one.length} bytes`);
        assert.equal(Buffer.compare(one, other), 0, "the two files are the same");
        const bill = Deno.readTextFileSync(`${folder}/empty/ftl.cdx.json`);
        assert.equal(bill, Deno.readTextFileSync(`${folder}/copy/ftl.cdx.json`));
        const hash = createHash("sha256").update(one).digest("hex");
        assert.ok(said.includes(hash) && bill.includes(hash), said);
        Deno.removeSync(`${folder}/copy`, { recursive: true });
      });

      await t.step("two first starts at once both work and unpack one program", async () => {
        const both = await Promise.all([run(["--version"], cache), run(["--version"], cache)]);
        for (const { code, stdout, stderr } of both) {
          assert.deepEqual([code, stderr], [0, ""]);
          assert.match(stdout, versions);
        }
        const unpacked = [...Deno.readDirSync(`${folder}/cache`)].map((entry) => entry.name);
        assert.equal(unpacked.length, 1, unpacked.join());
        assert.match(unpacked[0], /^app-[0-9a-f]{16}$/);
      });

      await t.step("it carries the engines of the CPU and of GPUs", async () => {
        const { code, stdout, stderr } = await run(["doctor", "--json"], cache);
        assert.equal(code, 0, stderr);
        const { engines } = JSON.parse(stdout);
        assert.match(engines.onnx.version, /^\d+\.\d+\.\d+$/);
        // Whether there is an adapter is the machine's business.
        assert.match(engines.dawn.name ?? engines.dawn.error, /^(?!Cannot use)/);
      });

      await t.step("it trains, exports and runs", async () => {
        Deno.renameSync(makeTinyFolder("llama_tied", folder), `${folder}/empty/model`);
        Deno.writeTextFileSync(`${folder}/empty/rows.jsonl`, rows);
        const trained = await run(
          ["train", "-m", "model", "-d", "rows.jsonl", "-s", "4", "-w", "1", "-l", "1e-2", "--questions", "1"],
          cache,
        );
        assert.equal(trained.code, 0, trained.stderr);
        const [, before, after] = /trained rows\s+([\d.]+) -> ([\d.]+)/.exec(trained.stdout)!;
        assert.ok(Number(after) < Number(before), trained.stdout);
        const exported = await run(["export", "runs/model-1", "--to", "f16"], cache);
        assert.equal(exported.code, 0, exported.stderr);
        assert.ok(Deno.statSync(`${folder}/empty/runs/model-1/export/model.F16.gguf`).size > 100_000);
        const asked = await run(["run", "runs/model-1", "What is number 0?", "--max-new-tokens", "4"], cache);
        assert.equal(asked.code, 0, asked.stderr);
      });

      await t.step("it knows the licence of everything inside, as its bill of materials does", async () => {
        const { stdout } = await run(["licenses", "--json"], cache);
        const inside: { name: string; version: string; text: string }[] = JSON.parse(stdout);
        for (const { name, text } of inside) assert.ok(text.length > 100, `${name} has no licence`);
        const names = inside.slice(1).map(({ name, version }) => `${name}@${version}`);
        const bill = JSON.parse(Deno.readTextFileSync(`${folder}/empty/ftl.cdx.json`));
        const listed = bill.components.map((one: { "bom-ref": string }) => one["bom-ref"]);
        assert.deepEqual(listed.filter((ref: string) => !ref.startsWith("file:")), names);
        assert.equal(listed.filter((ref: string) => ref.startsWith("file:")).length, 3, "Deno, ONNX Runtime, Dawn");
        // A bundle names every file that it took in.
        const [program] = [...Deno.readDirSync(`${folder}/cache`)].filter(({ name }) => name.startsWith("app-"));
        const taken = new Set<string>();
        for (const { name } of Deno.readDirSync(`${folder}/cache/${program.name}`)) {
          if (!name.endsWith(".js")) continue;
          const code = Deno.readTextFileSync(`${folder}/cache/${program.name}/${name}`);
          for (const [, path] of code.matchAll(/^\/\/ \S*node_modules\/\.deno\/([^/]+)\//gm)) taken.add(path);
        }
        assert.ok(taken.size > 50, `${taken.size} packages`);
        const folders = names.map((name) => name.replace("/", "+"));
        assert.deepEqual(
          [...taken].map((path) => path.replace(/_.*/, "")).filter((path) => !folders.includes(path)),
          [],
        );
      });

      const step = "on a machine without a network, as another user, everything but fetching works";
      const possible = mayUnshare();
      if (!possible) console.log(`skipped: ${step}: namespaces need root`);
      assert.ok(possible || !Deno.env.get("FTL_REQUIRE_NAMESPACES"), "FTL_REQUIRE_NAMESPACES is set");
      await t.step({
        name: step,
        ignore: !possible,
        async fn() {
          const airgap = `${folder}/airgap`;
          Deno.mkdirSync(airgap);
          Deno.copyFileSync(`${folder}/empty/ftl`, `${airgap}/ftl`);
          Deno.copyFileSync(`${folder}/empty/runs/model-1/export/model.F16.gguf`, `${airgap}/model.gguf`);
          Deno.writeTextFileSync(`${airgap}/rows.jsonl`, rows);
          binFolder(airgap);
          const driver = new URL("../helpers/airgap.ts", import.meta.url).pathname;
          const { code, stderr } = await new Deno.Command("unshare", {
            args: ["--net", "--mount", Deno.execPath(), "run", "-A", "--quiet", "--no-check", driver, airgap],
          }).output();
          assert.equal(code, 0, decode(stderr));
        },
      });

      await t.step("it starts with an environment that holds nothing at all", async () => {
        const program = [...Deno.readDirSync(`${folder}/cache`)].find(({ name }) => name.startsWith("app-"))!.name;
        const unpacked = `/tmp/ftl-${Deno.uid()}/${program}`;
        try {
          const { code, stdout, stderr } = await run(["--version"]);
          assert.deepEqual([code, stderr], [0, ""]);
          assert.match(stdout, versions);
          assert.ok(Deno.statSync(`${unpacked}/main.js`).isFile);
        } finally {
          Deno.removeSync(unpacked, { recursive: true });
        }
      });

      await t.step("a later start unpacks nothing again", async () => {
        const [program] = [...Deno.readDirSync(`${folder}/cache`)].filter(({ name }) => name.startsWith("app-"));
        const unpackedAt = () => Deno.statSync(`${folder}/cache/${program.name}/main.js`).ctime!.getTime();
        const before = unpackedAt();
        await run(["--version"], cache);
        assert.equal(unpackedAt(), before);
      });

      await t.step("a copy that is cut short says so and leaves nothing", async () => {
        Deno.mkdirSync(`${folder}/cut`);
        Deno.copyFileSync(`${folder}/empty/ftl`, `${folder}/cut/ftl`);
        Deno.truncateSync(`${folder}/cut/ftl`, 20_000_000);
        const { code, stdout, stderr } = await run(
          ["--version"],
          { PATH, FTL_CACHE: `${folder}/other`, TMPDIR: folder },
          `${folder}/cut`,
        );
        assert.deepEqual([code, stdout], [1, ""]);
        assert.match(stderr, /^ftl: this copy of .* is broken: it has 20000000 bytes, expected \d+\n {2}try: copy/);
        assert.throws(() => Deno.statSync(`${folder}/other`), Deno.errors.NotFound);
      });
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
