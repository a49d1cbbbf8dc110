/**
 * A machine without a network, as a program of its own that tests start as root with `unshare --net --mount`: only
 * loopback, a /tmp that runs nothing, and in it ./ftl as another user, from a read-only folder with blanks and umlauts in
 * its path, with an empty home and nothing but a shell's tools on PATH. There ftl trains, measures, exports, answers,
 * chats and serves. Argument: a folder with ftl, bin/, model.gguf and rows.jsonl, which it moves about.
 */
import assert from "node:assert/strict";

const nobody = 65534;
const place = "/mnt", programs = `${place}/Zoës Programme`;

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

async function main(folder: string): Promise<void> {
  raiseLoopback();
  lay(folder);
  const home = { PATH: `${place}/bin`, HOME: `${place}/home` };

  const nowhere = await ftl(["--version"], { PATH: home.PATH });
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.stderr, /\/tmp\/ftl-65534: lets no program run \(noexec\)/);
  assert.match(nowhere.stderr, /Zoës Programme\/\.ftl: cannot be written to/);
  assert.match(nowhere.stderr, /try: FTL_CACHE=\/some\/folder/);
  assert.deepEqual([...Deno.readDirSync("/tmp/ftl-65534")], [], "what could not be used is removed");

  const both = await Promise.all([ftl(["--version"], home), ftl(["--version"], home)]);
  for (const { code, stderr } of both) assert.deepEqual([code, stderr], [0, ""]);

  const good = async (args: string[], input?: string) => {
    const ran = await ftl(args, home, input);
    assert.equal(ran.code, 0, `${args.join(" ")}\n${ran.stdout}\n${ran.stderr}`);
    return ran.stdout;
  };
  const training = ["--data", "rows.jsonl", "--max-steps", "4", "--warmup-steps", "1", "--questions", "1"];
  const trained = await good(["train", "--model", "model.gguf", ...training, "--learning-rate", "1e-2"]);
  const [, before, after] = /trained rows\s+([\d.]+) -> ([\d.]+)/.exec(trained)!;
  assert.ok(Number(after) < Number(before), trained);
  const [run] = [...Deno.readDirSync(`${place}/desk/runs`)].map(({ name }) => `runs/${name}`);

  assert.match(await good(["eval", run, "rows.jsonl", "--limit", "2", "--max-new-tokens", "4"]), /rows\.jsonl/);
  await good(["export", run, "--to", "q8_0"]);
  assert.ok([...Deno.readDirSync(`${place}/desk/${run}/export`)].some(({ name }) => name.endsWith(".gguf")));
  await good(["run", run, "What is number 0?", "--max-new-tokens", "4"]);
  await good(["run", run, "--max-new-tokens", "4"], "What is number 0?\nAnd number 1?\n");
  assert.match(await good(["licenses"]), /^Deno\s+\d/m);
  await serve(run, home);
  assert.deepEqual(
    [...Deno.readDirSync(`${place}/home/.cache`)].map(({ name }) => name),
    ["ftl"],
    "ONNX Runtime keeps no diary",
  );
}

/** Lays the folder out as the machine's, in this process's own view of the disks. */
function lay(folder: string): void {
  for (const name of ["program", "home", "desk"]) Deno.mkdirSync(`${folder}/${name}`);
  Deno.renameSync(`${folder}/program`, `${folder}/${programs.split("/").at(-1)}`);
  Deno.renameSync(`${folder}/ftl`, `${folder}/${programs.split("/").at(-1)}/ftl`);
  for (const name of ["model.gguf", "rows.jsonl"]) Deno.renameSync(`${folder}/${name}`, `${folder}/desk/${name}`);
  Deno.chmodSync(folder, 0o755);
  for (const path of ["home", "desk", "desk/model.gguf", "desk/rows.jsonl"]) {
    Deno.chownSync(`${folder}/${path}`, nobody, nobody);
  }
  mount(["--make-rprivate", "/"]);
  mount(["--bind", folder, place]);
  mount(["--bind", programs, programs]);
  mount(["-o", "remount,ro,bind", programs]);
  mount(["-t", "tmpfs", "-o", "noexec,mode=1777", "tmpfs", "/tmp"]);
}

function mount(args: string[]): void {
  const { success, stderr } = new Deno.Command("mount", { args }).outputSync();
  assert.ok(success, `mount ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** What `ip link set lo up` does, where there is no ip: ioctl(SIOCSIFFLAGS) of a struct ifreq. */
function raiseLoopback(): void {
  const c = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  });
  const request = new Uint8Array(40), up = 0x1, setFlags = 0x8914n;
  new TextEncoder().encodeInto("lo", request);
  new DataView(request.buffer).setInt16(16, up, true);
  const socket = c.symbols.socket(2, 2, 0);
  assert.equal(c.symbols.ioctl(socket, setFlags, request), 0, "loopback comes up");
}

function command(args: string[], env: Record<string, string>): Deno.Command {
  const user = [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--no-new-privs"];
  return new Deno.Command("/usr/bin/setpriv", {
    args: [...user, "--", `${programs}/ftl`, ...args],
    ...{ cwd: `${place}/desk`, clearEnv: true, env, stdin: "piped", stdout: "piped", stderr: "piped" },
  });
}

async function ftl(args: string[], env: Record<string, string>, input = ""): Promise<Ran> {
  const child = command(args, env).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** A server on loopback, asked once and ended by SIGTERM. */
async function serve(run: string, env: Record<string, string>): Promise<void> {
  const child = command(["serve", run, "--port", "0"], env).spawn();
  await child.stdin.close();
  const errors = new Response(child.stderr).text();
  let said = "", url: string | undefined;
  const decoder = new TextDecoder(), reader = child.stdout.getReader();
  while (url === undefined) {
    const { done, value } = await reader.read();
    if (done) assert.fail(`serve ended: ${said}\n${await errors}`);
    url = /API\s+(\S+)/.exec(said += decoder.decode(value, { stream: true }))?.[1];
  }
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "What is number 0?" }], max_tokens: 4 }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  assert.ok(JSON.parse(text).usage.completion_tokens > 0, text);
  child.kill("SIGTERM");
  while (!(await reader.read()).done);
  assert.equal((await child.status).code, 0, `serve: ${await errors}`);
}

if (import.meta.main) await main(Deno.args[0]);
