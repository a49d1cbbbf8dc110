/** `ftl serve` as a person starts and stops it: what is served under which names, how it is asked, how it ends. */
import assert from "node:assert/strict";
import { type ServeOptions, spawnServe, startServe } from "../helpers/served.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const program = new URL("../helpers/serve_process.ts", import.meta.url).pathname;
const main = new URL("../../main.ts", import.meta.url).pathname;

type Options = ServeOptions & { cwd: string };

const inFolder = ({ cwd, env, script = program }: Options) => (
  { cwd, script, env: { FTL_CACHE: `${cwd}/cache`, ...env } }
);

async function failure(args: string[], options: Options) {
  const { code, stderr, stdout } = await spawnServe(args, inFolder(options)).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Starts a server and hands over its address; afterwards it is told to end, and its output comes back. */
async function served(
  args: string[],
  options: Options,
  body: (url: string, process: Deno.ChildProcess) => Promise<void>,
): Promise<{ code: number; stdout: string }> {
  const server = await startServe(args, inFolder(options));
  try {
    await body(server.url, server.process);
  } finally {
    await server.stop();
  }
  return await server.stop();
}

function makeRun(folder: string, config = "model: some-model\n"): void {
  Deno.mkdirSync(`${folder}/adapter`, { recursive: true });
  Deno.writeTextFileSync(`${folder}/config.yaml`, config);
  Deno.writeTextFileSync(`${folder}/adapter/adapter_config.json`, "{}");
}

const chat = async (url: string, body: object, headers: Record<string, string> = {}) => {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ messages: [{ role: "user", content: "What is jollof?" }], ...body }),
  });
  return await response.json();
};

Deno.test("a run is served as base and adapter, each asked in its own form; the adapter answers foreign names", () =>
  inTempFolder(async (cwd) => {
    makeRun(`${cwd}/runs/some-model-1`, "model: some-model\nprompt_style: alpaca\n");
    makeRun(`${cwd}/runs/other-2`);
    const args = [
      "runs/some-model-1",
      "--adapter",
      "runs/other-2",
      "--port",
      "0",
      "--alias",
      "mine",
      "--alias",
      "b=some-model",
    ];
    const { code, stdout } = await served(args, { cwd, env: { FTL_API_KEY: "sk-1" } }, async (url) => {
      const key = { authorization: "Bearer sk-1" };
      const { data } = await (await fetch(`${url}/v1/models`, { headers: key })).json();
      assert.deepEqual(
        data.map(({ id, parent, aliases }: Record<string, unknown>) => [id, parent, aliases]),
        [["some-model", null, ["b"]], ["some-model-1", "some-model", ["mine"]], ["other-2", "some-model", []]],
      );
      const tuned = await chat(url, { model: "gpt-5.4" }, key);
      assert.equal(tuned.model, "some-model-1");
      assert.match(tuned.choices[0].message.content, /### Instruction:\nWhat is jollof\?/);
      const base = await chat(url, { model: "b" }, key);
      assert.equal(base.model, "some-model");
      assert.match(base.choices[0].message.content, /user\nWhat is jollof\?/);
      assert.equal((await chat(url, {})).error.code, "invalid_api_key");
    });
    assert.equal(code, 0);
    assert.match(stdout, /^serving +some-model \(b\), some-model-1 \(mine\), other-2$/m);
    assert.match(
      stdout,
      /^try +curl http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions -H "Authorization: Bearer \$FTL_API_KEY" /m,
    );
    assert.ok(!stdout.includes("sk-1"));
  }));

Deno.test("without an argument the last run is served, without a run the default model; the line to try works", () =>
  inTempFolder(async (cwd) => {
    makeRun(`${cwd}/runs/a-1`);
    makeRun(`${cwd}/runs/a-2`);
    Deno.utimeSync(`${cwd}/runs/a-1/adapter/adapter_config.json`, new Date(), new Date());
    Deno.utimeSync(`${cwd}/runs/a-2/adapter/adapter_config.json`, new Date(0), new Date(0));
    Deno.mkdirSync(`${cwd}/runs/unfinished`);
    const first = await served(["--port", "0"], { cwd }, () => Promise.resolve());
    assert.match(first.stdout, /^serving +some-model, a-1$/m);
    Deno.removeSync(`${cwd}/runs`, { recursive: true });
    await served(["--port=0"], { cwd }, async (url) => {
      const { data } = await (await fetch(`${url}/v1/models`)).json();
      assert.deepEqual(data.map(({ id }: { id: string }) => id), ["smollm2-135m"]);
    });
  }));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} finishes the answer that is under way, takes nothing new, and leaves with 0`, () =>
    inTempFolder(async (cwd) => {
      const { code, stdout } = await served(["m", "--port", "0"], { cwd }, async (url, process) => {
        const response = await fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ messages: [{ role: "user", content: "one two three four five six" }], stream: true }),
        });
        const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
        let text = (await reader.read()).value!;
        process.kill(signal);
        await new Promise((resolve) => setTimeout(resolve, 60));
        await assert.rejects(fetch(`${url}/health`).then((answer) => answer.body!.cancel()));
        for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
        assert.match(text, /six[\s\S]*"finish_reason":"stop"[\s\S]*data: \[DONE\]\n\n$/);
        await process.status;
      });
      assert.equal(code, 0);
      assert.match(stdout, /finishing what is running/);
    }));
}

Deno.test("mistakes are one line each, with what to do", () =>
  inTempFolder(async (cwd) => {
    makeRun(`${cwd}/runs/a-1`);
    Deno.mkdirSync(`${cwd}/unfinished`);
    Deno.writeTextFileSync(`${cwd}/unfinished/config.yaml`, "model: m\n");
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    const cases: [string[], number, RegExp][] = [
      [
        ["m", "--host", "0.0.0.0"],
        2,
        /^ftl: Anyone who reaches 0\.0\.0\.0 could use the model: it has no key\n {2}try: set FTL/,
      ],
      [
        ["m", "--port", String(port)],
        1,
        /^ftl: Cannot listen on 127\.0\.0\.1:\d+: another program has this port\n {2}try:/,
      ],
      [["m", "--port", "70000"], 2, /--port: expected a whole number, at least 0, at most 65535/],
      [
        ["m", "--host", "203.0.113.7", "--force"],
        1,
        /^ftl: Cannot listen on 203\.0\.113\.7:8080: this machine has no such/,
      ],
      [
        ["runs/a-1", "--alias", "x=none"],
        2,
        /^ftl: --alias x=none: no model none is served\n {2}try: served are some-model, a-1/,
      ],
      [["runs/a-1", "--alias", "a-1"], 2, /--alias a-1: the name is taken/],
      [["m", "--adapter", "nothing"], 2, /^ftl: --adapter nothing holds no adapter/],
      [["m", "--allow-adapters", "nothing"], 2, /^ftl: --allow-adapters nothing is no folder/],
      [
        ["m", "--allow-adapters", "runs", "--host", "0.0.0.0", "--force"],
        2,
        /^ftl: Anyone who reaches 0\.0\.0\.0 could change what is served: --allow-adapters needs a key there\n {2}try: set FTL/,
      ],
      [["unfinished"], 1, /^ftl: unfinished has no trained adapter yet/],
      [["m", "n"], 2, /n: unexpected argument/],
    ];
    try {
      for (const [args, code, says] of cases) {
        const ran = await failure(args, { cwd });
        assert.match(ran.stderr, says, args.join(" "));
        assert.equal(ran.code, code, args.join(" "));
        assert.ok(!ran.stderr.includes("    at "), ran.stderr);
      }
    } finally {
      taken.close();
    }
  }));

Deno.test("ftl serve --help names its settings, and ftl lists the command", () =>
  inTempFolder(async (cwd) => {
    const { stdout } = await failure(["serve", "--help"], { cwd, script: main });
    for (
      const flag of [
        "--host",
        "--port",
        "--api-key",
        "--alias",
        "--cors",
        "--max-queue",
        "--context",
        "--parallel",
        "--allow-adapters",
      ]
    ) {
      assert.ok(stdout.includes(flag), flag);
    }
    assert.match((await failure(["--help"], { cwd, script: main })).stdout, /^ {2}serve +answer over HTTP/m);
  }));
