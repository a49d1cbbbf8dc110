/** Functions over the wire: prompts of each family, whole and streamed calls, forced ones, and three clients' agents. */
import assert from "node:assert/strict";
import { createOpenAICompatible } from "npm:@ai-sdk/openai-compatible@3.0.92";
import { ChatOpenAI } from "npm:@langchain/openai@1.6.0";
import { generateText, stepCountIs, tool as aiTool } from "npm:ai@7.0.173";
import OpenAI from "npm:openai@7.57.0";
import { z } from "zod";
import { llama3Template, mistralTemplate, qwenTemplate } from "../helpers/chat_templates.ts";
import { post, question, serving } from "../helpers/http_server.ts";
import { chatMl, smollm2Tokenizer } from "../helpers/tokenizers.ts";

const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city"],
};
const weather = { type: "function" as const, function: { name: "weather", description: "The weather", parameters } };
const time = { type: "function" as const, function: { name: "time", parameters: { type: "object", properties: {} } } };
const tools = [weather, time];

const hermesCall = (name: string, given: string) =>
  `<tool_call>\n{"name": "${name}", "arguments": ${given}}\n</tool_call>`;
const two = `${hermesCall("weather", '{"city": "Paris"}')}\n${hermesCall("time", "{}")}`;

const families: [string, string | null, string, RegExp][] = [
  ["Qwen", qwenTemplate, two, /^call_\w{24}$/],
  ["no functions", chatMl, two, /^call_\w{24}$/],
  [
    "Llama 3",
    llama3Template,
    '{"name": "weather", "parameters": {"city": "Paris"}}; {"name": "time", "parameters": {}}',
    /^call_\w{24}$/,
  ],
  [
    "Mistral",
    mistralTemplate,
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "time", "arguments": {}}]',
    /^\w{9}$/,
  ],
];

for (const [family, template, text, id] of families) {
  Deno.test(`${family}: functions are in the prompt, calls in the answer, whole and streamed with distinct indices`, () =>
    serving({ template, script: { text } }, async ({ url, engine }) => {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
      const asked = { model: "base", messages: [{ role: "user" as const, content: "Hi" }], tools };
      const whole = await client.chat.completions.create(asked);
      const prompt = smollm2Tokenizer().decode(engine.requests[0].tokens);
      assert.match(prompt, /"name": ?"weather"[\s\S]*"city"[\s\S]*"name": ?"time"/);
      const [{ message, finish_reason }] = whole.choices;
      assert.deepEqual([message.content, finish_reason], [null, "tool_calls"]);
      const calls = message.tool_calls!.map((call) => call.type === "function" ? call.function : null);
      assert.deepEqual(calls, [{ name: "weather", arguments: '{"city": "Paris"}' }, { name: "time", arguments: "{}" }]);
      assert.ok(message.tool_calls!.every((call) => id.test(call.id)));
      assert.equal(new Set(message.tool_calls!.map((call) => call.id)).size, 2);

      const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
      assert.equal(streamed.choices[0].finish_reason, "tool_calls");
      assert.deepEqual(
        streamed.choices[0].message.tool_calls!.map((call) => call.type === "function" && call.function.arguments),
        ['{"city": "Paris"}', "{}"],
      );
      if (family === "Llama 3") return;
      // What was called and what came of it go back into the prompt.
      const results = message.tool_calls!.map((call) => ({
        role: "tool" as const,
        tool_call_id: call.id,
        content: `result of ${call.id}`,
      }));
      await client.chat.completions.create({ ...asked, messages: [...asked.messages, message, ...results] });
      const next = smollm2Tokenizer().decode(engine.requests.at(-1)!.tokens);
      assert.match(next, /"name": ?"weather", ?"arguments": ?\{"city": ?"Paris"\}/);
      for (const { content } of results) assert.ok(next.includes(content), next);
    }));
}

Deno.test("tool_choice none leaves functions out, and calls are text", () =>
  serving({ template: qwenTemplate, script: { text: two } }, async ({ url, engine }) => {
    const body = { messages: question, tools, tool_choice: "none" };
    const { choices: [{ message, finish_reason }] } = await (await post(`${url}/v1/chat/completions`, body)).json();
    assert.deepEqual([message.content, finish_reason, "tool_calls" in message], [two, "stop", false]);
    assert.ok(!smollm2Tokenizer().decode(engine.requests[0].tokens).includes("weather"));
  }));

Deno.test("parallel_tool_calls false ends the answer with its first call", () =>
  serving({ template: qwenTemplate, script: { text: two + " and more".repeat(50) } }, async ({ url, engine }) => {
    const body = { messages: question, tools, parallel_tool_calls: false };
    const { choices: [{ message, finish_reason }] } = await (await post(`${url}/v1/chat/completions`, body)).json();
    assert.deepEqual([message.tool_calls.length, finish_reason], [1, "tool_calls"]);
    assert.ok(engine.made < 40);
  }));

for (const [family, template] of families) {
  Deno.test(`${family}: a required or named call is made whatever the model would say`, () =>
    serving({ template, script: { text: "I would rather talk." } }, async ({ url }) => {
      for (const tool_choice of ["required", { type: "function", function: { name: "weather" } }]) {
        const body = { messages: question, tools: [weather], tool_choice, seed: 5, max_tokens: 300 };
        const { choices: [{ message, finish_reason }] } = await (await post(`${url}/v1/chat/completions`, body)).json();
        assert.ok(message.tool_calls?.length > 0, JSON.stringify(message));
        assert.equal(message.tool_calls[0].function.name, "weather");
        if (finish_reason === "length") continue;
        const given = JSON.parse(message.tool_calls[0].function.arguments);
        assert.equal(typeof given.city, "string");
        assert.equal(finish_reason, "tool_calls");
      }
    }));
}

/** Calls once, then answers with what came of it. */
const agentScript = (prompt: string) => ({
  text: prompt.includes("22 degrees") ? "It is 22 degrees." : hermesCall("weather", '{"city": "Paris"}'),
});

Deno.test("ai: an agent calls and goes on with the result", () =>
  serving({
    template: qwenTemplate,
    script: ({ tokens }) => agentScript(smollm2Tokenizer().decode(tokens)),
  }, async ({ url }) => {
    const model = createOpenAICompatible({ name: "ftl", baseURL: `${url}/v1`, apiKey: "none" })("base");
    const result = await generateText({
      model,
      prompt: "How warm is Paris?",
      maxRetries: 0,
      stopWhen: stepCountIs(3),
      tools: {
        weather: aiTool({
          description: "The weather",
          inputSchema: z.object({ city: z.string() }),
          execute: ({ city }) => `22 degrees in ${city}`,
        }),
      },
    });
    assert.equal(result.text, "It is 22 degrees.");
    assert.equal(result.steps[0].toolResults[0].output, "22 degrees in Paris");
  }));

Deno.test("langchain: bound functions are called, streamed too", () =>
  serving({ template: qwenTemplate, script: { text: two } }, async ({ url }) => {
    const model = new ChatOpenAI({
      model: "base",
      apiKey: "none",
      maxRetries: 0,
      configuration: { baseURL: `${url}/v1` },
    }).bindTools(tools);
    const answer = await model.invoke("Hi");
    assert.deepEqual(answer.tool_calls!.map(({ name, args }) => [name, args]), [
      ["weather", { city: "Paris" }],
      ["time", {}],
    ]);
    let all;
    for await (const chunk of await model.stream("Hi")) all = all ? all.concat(chunk) : chunk;
    assert.deepEqual(all!.tool_calls!.map(({ name, args }) => [name, args]), [["weather", { city: "Paris" }], [
      "time",
      {},
    ]]);
  }));
