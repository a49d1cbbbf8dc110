/** Adapters that come and go over HTTP while a tiny model answers: what they say, when they may, and where from. */
import assert from "node:assert/strict";
import { adapterDoor } from "../../lib/cli/serve_adapters.ts";
import type { Engine } from "../../lib/serve/engine.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";
import { post, serving } from "../helpers/http_server.ts";
import { serveGolden, writeRandomAdapter } from "../helpers/serving.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

interface Place {
  url: string;
  engine: Engine;
  /** The folder that adapters may come from; beside it, in the same parent, are others. */
  root: string;
  parent: string;
  call(what: "load" | "unload", body: object): Promise<{ status: number; text: string }>;
  /** Greedy ids of 6 tokens from a model, or its error's code. */
  ask(model: string): Promise<string>;
  names(): Promise<string[]>;
}

/** A tiny model behind a server, with the adapters a and b in a folder, a run there, and one outside of it. */
function withAdapters(test: (place: Place) => Promise<void>): Promise<void> {
  return inTempFolder(async (dir) => {
    const parent = Deno.realPathSync(dir), root = `${parent}/shelf`;
    const { engine, base } = await serveGolden("llama3", executorFloat64(), { slots: 3, contextLength: 1024 });
    for (const [i, folder] of [`${root}/a`, `${root}/deep/b`, `${root}/run-1/adapter`, `${parent}/secret`].entries()) {
      Deno.mkdirSync(folder, { recursive: true });
      writeRandomAdapter(folder, { base, seed: i + 1 });
    }
    Deno.writeTextFileSync(`${root}/run-1/config.yaml`, "model: base\nprompt_style: alpaca\n");
    const plan = { model: "base", base: { id: "base", aliases: [] }, adapters: [], defaultModel: "base" };
    const door = adapterDoor(plan, { engine, root });
    await serving({ engine, tokenizer: smollm2Tokenizer(), adapters: door }, async ({ url }) => {
      await test({
        ...{ url, engine, root, parent },
        async call(what, body) {
          const response = await post(`${url}/v1/${what}_lora_adapter`, body);
          return { status: response.status, text: await response.text() };
        },
        async ask(model) {
          const body = { model, prompt: [5, 6, 7], max_tokens: 6, temperature: 0, logprobs: 0 };
          const answer = await (await post(`${url}/v1/completions`, body)).json();
          return answer.error?.code ?? `${answer.model}: ${answer.choices[0].logprobs.tokens.join("|")}`;
        },
        async names() {
          const { data } = await (await fetch(`${url}/v1/models`)).json();
          return data.map(({ id }: { id: string }) => id);
        },
      });
    });
    await engine.close(0);
  });
}

Deno.test("an adapter that is added answers beside its base, and one that is removed is unknown", () =>
  withAdapters(async ({ call, ask, names, root }) => {
    const base = await ask("base");
    assert.deepEqual(await call("load", { lora_name: "org/a", lora_path: "a" }), {
      status: 200,
      text: "Success: LoRA adapter 'org/a' added successfully.",
    });
    assert.equal((await call("load", { lora_name: "b", lora_path: `${root}/deep/b` })).status, 200);
    assert.equal((await call("load", { lora_name: "c", lora_path: "run-1" })).status, 200);
    assert.deepEqual(await names(), ["base", "org/a", "b", "c"]);
    const said = await Promise.all(["org/a", "b", "c"].map(ask));
    assert.equal(new Set([base, ...said].map((text) => text.split(": ")[1])).size, 4, "four different answers");
    assert.ok(said[0].startsWith("org/a: "));
    assert.equal(await ask("base"), base);
    assert.deepEqual(await call("unload", { lora_name: "org/a" }), {
      status: 200,
      text: "Success: LoRA adapter 'org/a' removed successfully.",
    });
    assert.deepEqual(await names(), ["base", "b", "c"]);
    assert.equal(await ask("org/a"), "model_not_found");
    assert.equal(JSON.parse((await call("unload", { lora_name: "org/a" })).text).error.code, "model_not_found");
    // Another one under the same name answers as itself.
    assert.equal((await call("load", { lora_name: "org/a", lora_path: "deep/b" })).status, 200);
    assert.equal(await ask("org/a"), said[1].replace("b: ", "org/a: "));
  }));

Deno.test("adding does not disturb an answer, and removing waits for the answers of the one removed", () =>
  withAdapters(async ({ url, call, engine, names }) => {
    await call("load", { lora_name: "a", lora_path: "a" });
    const body = { model: "a", prompt: [5, 6, 7], max_tokens: 200, temperature: 0, stream: true };
    const alone = await (await post(`${url}/v1/completions`, body)).text();
    const streaming = post(`${url}/v1/completions`, body).then((response) => response.text());
    while (engine.stats().running === 0) await new Promise((resolve) => setTimeout(resolve));
    assert.equal((await call("load", { lora_name: "b", lora_path: "deep/b" })).status, 200);
    assert.equal(engine.stats().running, 1, "it is still answering");
    let removed = false;
    const removing = call("unload", { lora_name: "a" }).then((answer) => (removed = true, answer));
    while ((await names()).includes("a")) await new Promise((resolve) => setTimeout(resolve));
    const twice = await call("unload", { lora_name: "a" });
    assert.equal(twice.status, 404);
    if (engine.stats().running === 1) assert.equal(removed, false);
    const text = (stream: string) => [...stream.matchAll(/"text":("[^"]*")/g)].map(([, text]) => text).join("");
    assert.equal(text(await streaming), text(alone));
    assert.equal((await removing).status, 200);
    assert.equal(engine.stats().running, 0);
  }));

Deno.test("what does not fit, is not there or lies elsewhere is refused, and says nothing of other places", () =>
  withAdapters(async ({ call, names, root, parent }) => {
    Deno.symlinkSync(`${parent}/secret`, `${root}/link`);
    Deno.mkdirSync(`${root}/linked`);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
      Deno.symlinkSync(`${parent}/secret/${name}`, `${root}/linked/${name}`);
    }
    Deno.mkdirSync(`${root}/half`);
    Deno.copyFileSync(`${root}/a/adapter_config.json`, `${root}/half/adapter_config.json`);
    Deno.mkdirSync(`${root}/broken`);
    Deno.writeTextFileSync(`${root}/broken/adapter_config.json`, "{");
    Deno.copyFileSync(`${root}/a/adapter_model.safetensors`, `${root}/broken/adapter_model.safetensors`);
    const other = await serveGolden("gemma3", executorFloat64());
    Deno.mkdirSync(`${root}/other`);
    writeRandomAdapter(`${root}/other`, { base: other.base, seed: 9 });
    await other.engine.close(0);
    const elsewhere = [
      ...["none", "../secret", "a/../../secret", `${parent}/secret`, "/etc", "/", "", ".", "link", "linked", "half"],
      ...["a\u0000", "..%2fsecret", "~", "run-1/config.yaml", "a/adapter_config.json", "..", `${root}2/a`],
    ];
    for (const lora_path of elsewhere) {
      const { status, text } = await call("load", { lora_name: "x", lora_path });
      assert.equal(status, 400, lora_path);
      assert.ok(!text.includes(parent) || lora_path.includes(parent), text);
    }
    const wrong: [string, RegExp][] = [["other", /trained|expected|layers|Tensor/], ["broken", /^Cannot read broken/]];
    for (const [lora_path, says] of wrong) {
      const { status, text } = await call("load", { lora_name: "x", lora_path });
      assert.equal(status, 400);
      assert.match(JSON.parse(text).error.message, says);
      assert.ok(!text.includes(parent), text);
    }
    const fields = [
      {},
      { lora_name: "x" },
      { lora_path: "a" },
      { lora_name: 3, lora_path: "a" },
      { lora_name: "x", lora_path: ["a"] },
      ...["", "a b", "a\nb", "<b>", "x".repeat(129), "é"].map((lora_name) => ({ lora_name, lora_path: "a" })),
    ];
    for (const body of fields) assert.equal((await call("load", body)).status, 400, JSON.stringify(body));
    assert.equal((await call("load", { lora_name: "base", lora_path: "a" })).status, 400);
    const base = await call("unload", { lora_name: "base" });
    assert.deepEqual([base.status, /base model/.test(base.text)], [400, true]);
    assert.deepEqual(await names(), ["base"]);
    const both = await Promise.all([1, 2].map(() => call("load", { lora_name: "a", lora_path: "a" })));
    assert.deepEqual(both.map(({ status }) => status).sort(), [200, 400]);
  }));

Deno.test("without permission, and without the key, adapters stay as they are", async () => {
  const body = { lora_name: "x", lora_path: "/etc" };
  await serving({}, async ({ url }) => {
    for (const what of ["load", "unload"]) {
      const response = await post(`${url}/v1/${what}_lora_adapter`, body);
      assert.deepEqual([response.status, (await response.json()).error.code], [403, "adapters_not_allowed"]);
    }
  });
  const never = () => Promise.reject(new Error("reached"));
  await serving({ apiKey: "k", adapters: { add: never, remove: never } }, async ({ url, reported }) => {
    for (const what of ["load", "unload"]) {
      const response = await post(`${url}/v1/${what}_lora_adapter`, body);
      assert.equal((await response.json()).error.code, "invalid_api_key");
    }
    assert.deepEqual(reported, []);
  });
});
