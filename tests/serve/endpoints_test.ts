/** Completions, embeddings and responses over the wire and through npm openai. */
import assert from "node:assert/strict";
import OpenAI from "npm:openai@7.57.0";
import { generateText, streamText } from "npm:ai@7.0.173";
import { createOpenAI } from "npm:@ai-sdk/openai@4.0.118";
import { qwenTemplate } from "../helpers/chat_templates.ts";
import { eventsOf, post, serving, until } from "../helpers/http_server.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

// deno-lint-ignore no-explicit-any
type Any = any;
const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

Deno.test("completions: text, ids, lists of both, echo, n, and the older logprobs", () =>
  serving({ script: { text: " there, friend" } }, async ({ url, engine }) => {
    const client = clientOf(url);
    const whole = await client.completions.create({ model: "base", prompt: "Hello" });
    assert.match(whole.id, /^cmpl-\w{32}$/);
    assert.deepEqual([whole.object, whole.choices[0].text, whole.choices[0].finish_reason], [
      "text_completion",
      " there, friend",
      "stop",
    ]);
    const ids = smollm2Tokenizer().encode("Hello");
    assert.deepEqual([...engine.requests[0].tokens], ids);
    await client.completions.create({ model: "base", prompt: ids });
    assert.deepEqual([...engine.requests[1].tokens], ids);
    const many = await client.completions.create({ model: "base", prompt: ["Hello", "Hi"], n: 2, echo: true });
    assert.deepEqual(many.choices.map(({ index, text }) => [index, text]), [
      [0, "Hello there, friend"],
      [1, "Hello there, friend"],
      [2, "Hi there, friend"],
      [3, "Hi there, friend"],
    ]);
    const scored = await client.completions.create({ model: "base", prompt: "Hello", logprobs: 2, max_tokens: 2 });
    const { logprobs, finish_reason } = scored.choices[0];
    assert.deepEqual([logprobs!.tokens, logprobs!.text_offset, finish_reason], [[" there", ","], [0, 6], "length"]);
    assert.equal(Object.keys(logprobs!.top_logprobs![0]).length, 2);
    let text = "", usage = 0;
    const stream = await client.completions.create({
      model: "base",
      prompt: "Hello",
      stream: true,
      stream_options: { include_usage: true },
      stop: "friend",
    });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? "";
      usage += chunk.usage?.total_tokens ?? 0;
    }
    assert.equal(text, " there, ");
    assert.ok(usage > 0);
    const wrong: [object, string][] = [
      [{}, "prompt"],
      [{ prompt: [] }, "prompt"],
      [{ prompt: [999_999] }, "prompt"],
      [{ prompt: "a", suffix: "b" }, "suffix"],
      [{ prompt: "a", echo: true, logprobs: 1 }, "echo"],
    ];
    for (const [body, param] of wrong) {
      const { error } = await (await post(`${url}/v1/completions`, body)).json();
      assert.equal(error.param, param, JSON.stringify(body));
    }
  }));

Deno.test("embeddings: numbers and base64 are the same vector", () =>
  serving({ contextLength: 50 }, async ({ url }) => {
    const client = clientOf(url);
    const asked = { model: "base", input: ["Hello there", "Hi"] };
    const numbers = await client.embeddings.create({ ...asked, encoding_format: "float" });
    const decoded = await client.embeddings.create(asked);
    assert.deepEqual(decoded.data.map(({ index, embedding }) => [index, [...embedding]]), [
      [0, numbers.data[0].embedding],
      [1, numbers.data[1].embedding],
    ]);
    assert.ok(Math.abs(Math.hypot(...numbers.data[0].embedding) - 1) < 1e-6);
    assert.equal(numbers.usage.total_tokens, 3);
    const wrong: [object, string][] = [
      [{}, "input"],
      [{ input: "" }, "input"],
      [{ input: [] }, "input"],
      [{ input: "word ".repeat(99) }, "input"],
      [{ input: "a", encoding_format: "hex" }, "encoding_format"],
      [{ input: "a", dimensions: 2 }, "dimensions"],
    ];
    for (const [body, param] of wrong) {
      const response = await post(`${url}/v1/embeddings`, body);
      assert.deepEqual([response.status, (await response.json()).error.param], [400, param], JSON.stringify(body));
    }
  }));

Deno.test("responses: a whole answer, and a stream whose events are numbered and add up to it", () =>
  serving({ script: { text: "Hello there!" } }, async ({ url, engine }) => {
    const client = clientOf(url);
    const asked = { model: "base", instructions: "Be brief.", input: "Hi", max_output_tokens: 50 };
    const whole = await client.responses.create(asked);
    assert.equal(whole.output_text, "Hello there!");
    assert.equal(whole.status, "completed");
    assert.equal(whole.usage!.output_tokens, 3);
    assert.match(smollm2Tokenizer().decode(engine.requests[0].tokens), /system\nBe brief\.<\|im_end\|>\n.*user\nHi/);
    const events: Any[] = [];
    for await (const event of await client.responses.create({ ...asked, stream: true })) events.push(event);
    assert.deepEqual(events.map(({ sequence_number }) => sequence_number), events.map((_, i) => i));
    const types = events.map(({ type }) => type.replace("response.", ""));
    assert.deepEqual(types.filter((type, i) => type !== types[i - 1]), [
      "created",
      "in_progress",
      "output_item.added",
      "content_part.added",
      "output_text.delta",
      "output_text.done",
      "content_part.done",
      "output_item.done",
      "completed",
    ]);
    assert.equal(events.map(({ delta }) => delta ?? "").join(""), "Hello there!");
    assert.equal(events.at(-1).response.output[0].content[0].text, "Hello there!");
    const final = await client.responses.stream(asked).finalResponse();
    assert.equal(final.output_text, "Hello there!");
    const cut = await client.responses.create({ ...asked, max_output_tokens: 1 });
    assert.deepEqual([cut.status, cut.incomplete_details!.reason], ["incomplete", "max_output_tokens"]);
  }));

Deno.test("responses: functions are called and their results go back as items", () =>
  serving({
    template: qwenTemplate,
    script: ({ tokens }) => ({
      text: smollm2Tokenizer().decode(tokens).includes("22 degrees")
        ? "It is warm."
        : '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>',
    }),
  }, async ({ url }) => {
    const client = clientOf(url);
    const tools = [{
      type: "function" as const,
      name: "weather",
      strict: false,
      parameters: { type: "object", properties: { city: { type: "string" } } },
    }];
    const input: OpenAI.Responses.ResponseInputItem[] = [{
      role: "user",
      content: [{ type: "input_text", text: "Hi" }],
    }];
    const final = await client.responses.stream({ model: "base", input, tools }).finalResponse();
    const [call] = final.output;
    assert.ok(call.type === "function_call");
    assert.deepEqual([call.name, call.arguments], ["weather", '{"city": "Paris"}']);
    const next = await client.responses.create({
      model: "base",
      tools,
      input: [...input, call, { type: "function_call_output", call_id: call.call_id, output: "22 degrees" }],
    });
    assert.equal(next.output_text, "It is warm.");
  }));

Deno.test("responses: JSON by schema, what cannot be had, and an error in the middle", async () => {
  await serving({ script: { text: '{"a": 5}' } }, async ({ url }) => {
    const client = clientOf(url);
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
    const text = { format: { type: "json_schema" as const, name: "x", schema } };
    assert.deepEqual(JSON.parse((await client.responses.create({ input: "Hi", text })).output_text), { a: 5 });
    const wrong: [object, string][] = [
      [{}, "input"],
      [{ input: "Hi", previous_response_id: "resp_1" }, "previous_response_id"],
      [{ input: [{ type: "item_reference", id: "x" }] }, "input.0.type"],
      [{ input: "Hi", tools: [{ type: "web_search" }] }, "tools.0.type"],
    ];
    for (const [body, param] of wrong) {
      const { error } = await (await post(`${url}/v1/responses`, body)).json();
      assert.equal(error.param, param, JSON.stringify(body));
    }
  });
  await serving({ script: { text: "one two three", failAt: 2 } }, async ({ url }) => {
    const stream = await clientOf(url).responses.create({ input: "Hi", stream: true });
    const read = async () => {
      for await (const _ of stream);
    };
    await assert.rejects(read(), OpenAI.APIError);
    const text = await (await post(`${url}/v1/responses`, { input: "Hi", stream: true })).text();
    assert.match(text, /event: error\ndata: \{"type":"error"/);
    assert.ok((eventsOf(text).at(-1) as Any).error.message);
  });
});

Deno.test("ai: @ai-sdk/openai, whose models ask for responses", () =>
  serving({ script: { text: "Hello there!", pace: 2 } }, async ({ url, engine }) => {
    const model = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })("base");
    assert.equal((await generateText({ model, prompt: "Hi", maxRetries: 0 })).text, "Hello there!");
    const stream = streamText({ model, prompt: "Hi", maxRetries: 0 });
    assert.equal(await stream.text, "Hello there!");
    assert.equal((await stream.usage).outputTokens, 3);
    await until(() => engine.stats().running === 0);
  }));
