/**
 * The one-file program: built, moved to an empty folder, and run there without Deno, Node or Python on PATH and with an
 * empty environment, where it trains, exports and answers. Also what it does when its copy is broken, when two start at
 * once for the first time, and when it may not use the network.
 */
import assert from "node:assert/strict";
import { makeTinyFolder } from "../helpers/tiny_folders.ts";
import { rows } from "../helpers/ftl.ts";

const build = new URL("../../lib/build/build.ts", import.meta.url).pathname;
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

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

      await t.step("it builds", async () => {
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "--allow-all", "--quiet", build, `${folder}/empty/ftl`],
          stdout: "null",
          stderr: "piped",
        }).output();
        assert.equal(code, 0, decode(stderr));
      });

      await t.step("two first starts at once both work and unpack one program", async () => {
        const both = await Promise.all([run(["--version"], cache), run(["--version"], cache)]);
        for (const { code, stdout, stderr } of both) assert.deepEqual([code, stdout, stderr], [0, "ftl 0.1.0\n", ""]);
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

      await t.step("it starts with an environment that holds nothing at all", async () => {
        const program = [...Deno.readDirSync(`${folder}/cache`)].find(({ name }) => name.startsWith("app-"))!.name;
        const unpacked = `/tmp/ftl-${Deno.uid()}/${program}`;
        try {
          assert.deepEqual(await run(["--version"]), { code: 0, stdout: "ftl 0.1.0\n", stderr: "" });
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
