/** npm ollama against a real port: chat, generate, streams, functions, formats, errors, cancelling. */
import assert from "node:assert/strict";
import { Ollama } from "npm:ollama@0.6.4";
import { qwenTemplate } from "../helpers/chat_templates.ts";
import { post, question, serving, until } from "../helpers/http_server.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

Deno.test("ollama: chat and generate, whole and streamed", () =>
  serving({}, async ({ url, engine }) => {
    const client = new Ollama({ host: url });
    const whole = await client.chat({ model: "base:latest", messages: question });
    assert.deepEqual([whole.message.content, whole.done, whole.done_reason, whole.eval_count], [
      "Hello there!",
      true,
      "stop",
      3,
    ]);
    assert.deepEqual([engine.requests[0].temperature, engine.requests[0].topK], [0.8, 40]);
    let text = "", ends = 0;
    for await (const part of await client.chat({ model: "base", messages: question, stream: true })) {
      text += part.message.content;
      ends += part.done ? 1 : 0;
    }
    assert.deepEqual([text, ends], ["Hello there!", 1]);
    const options = { temperature: 0, seed: 7, num_predict: 2, stop: ["!"], repeat_penalty: 1.2, num_ctx: 512 };
    const made = await client.generate({ model: "base", prompt: "Hi", system: "Be brief.", options });
    assert.deepEqual([made.response, made.done_reason], ["Hello there", "length"]);
    const request = engine.requests.at(-1)!;
    assert.deepEqual([request.temperature, request.seed, request.maxTokens, request.repetitionPenalty], [0, 7, 2, 1.2]);
    assert.match(smollm2Tokenizer().decode(request.tokens), /system\nBe brief\..*\n.*user\nHi/);
    await client.generate({ model: "base", prompt: "Once", raw: true });
    assert.equal(smollm2Tokenizer().decode(engine.requests.at(-1)!.tokens), "Once");
    text = "";
    for await (const part of await client.generate({ model: "base", prompt: "Hi", stream: true })) {
      text += part.response;
    }
    assert.equal(text, "Hello there!");
  }));

Deno.test("ollama: models, versions, and loading with an empty prompt", () =>
  serving({}, async ({ url }) => {
    const client = new Ollama({ host: url });
    assert.deepEqual((await client.list()).models.map(({ name }) => name), ["base", "base-tuned"]);
    const shown = await client.show({ model: "base-tuned" });
    assert.equal(shown.details.parent_model, "base");
    assert.ok(shown.template.includes("<|im_start|>"));
    await assert.rejects(client.show({ model: "none" }), /does not exist/);
    assert.equal((await (await fetch(`${url}/api/version`)).json()).version, "0.0.0");
    const loaded = await (await post(`${url}/api/generate`, { model: "base" })).json();
    assert.deepEqual([loaded.done, loaded.done_reason, loaded.response], [true, "load", ""]);
  }));

Deno.test("ollama: functions and JSON", async () => {
  const text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';
  await serving({ template: qwenTemplate, script: { text } }, async ({ url, engine }) => {
    const client = new Ollama({ host: url });
    const parameters = { type: "object", properties: { city: { type: "string", description: "which" } } };
    const tools = [{ type: "function", function: { name: "weather", description: "The weather", parameters } }];
    const { message } = await client.chat({ model: "base", messages: question, tools });
    assert.deepEqual(message.tool_calls, [{ function: { name: "weather", arguments: { city: "Paris" } } }]);
    const next = [...question, message, { role: "tool", tool_name: "weather", content: "22 degrees" }];
    await client.chat({ model: "base", messages: next, tools });
    assert.match(smollm2Tokenizer().decode(engine.requests[1].tokens), /<tool_response>\n22 degrees/);
  });
  await serving({ script: { text: '{"a": [1]} and' } }, async ({ url }) => {
    const client = new Ollama({ host: url });
    const asked = { model: "base", messages: question };
    assert.deepEqual(JSON.parse((await client.chat({ ...asked, format: "json" })).message.content), { a: [1] });
    const format = {
      type: "object",
      properties: { a: { type: "array", items: { type: "integer" } } },
      required: ["a"],
    };
    assert.deepEqual(JSON.parse((await client.chat({ ...asked, format })).message.content), { a: [1] });
  });
});

Deno.test("ollama: errors are a text, also in the middle; curl's form is read; leaving ends the answer", async () => {
  await serving({ script: { text: "one two three", failAt: 2 } }, async ({ url }) => {
    const lines = (await (await post(`${url}/api/chat`, { model: "base", messages: question })).text()).trim().split(
      "\n",
    );
    assert.match(JSON.parse(lines.at(-1)!).error, /failed to answer/);
    const wrong = await post(`${url}/api/chat`, { messages: [{ role: "robot" }] });
    assert.equal(wrong.status, 400);
    assert.match((await wrong.json()).error, /^messages\.0\.role/);
    assert.equal(typeof (await (await fetch(`${url}/api/nothing`)).json()).error, "string");
    const stream = await new Ollama({ host: url }).chat({ model: "base", messages: question, stream: true });
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, /failed to answer/);
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const curl = await post(`${url}/api/generate`, '{"prompt": "Hi", "options": {"num_predict": 1}}', form);
    assert.equal(curl.status, 200);
    await curl.body!.cancel();
  });
  await serving({ script: { text: "la ".repeat(500), pace: 5 } }, async ({ url, engine }) => {
    const stream = await new Ollama({ host: url }).chat({ model: "base", messages: question, stream: true });
    try {
      for await (const _ of stream) stream.abort();
    } catch { /* AbortError */ }
    await until(() => engine.aborted === 1 && engine.stats().running === 0);
  });
});
