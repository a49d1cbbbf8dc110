/**
 * The clients that people have, against a running `ftl serve` with the real model and a key: whole answers, streams,
 * functions, JSON by schema, embeddings, leaving in the middle, a wrong model, a wrong key.
 */
import assert from "node:assert/strict";
import { createOpenAI } from "npm:@ai-sdk/openai@4.0.118";
import { createOpenAICompatible } from "npm:@ai-sdk/openai-compatible@3.0.92";
import { ChatOpenAI } from "npm:@langchain/openai@1.6.0";
import { generateText, streamText } from "npm:ai@7.0.173";
import { Ollama } from "npm:ollama@0.6.4";
import OpenAI from "npm:openai@7.57.0";
import { zodResponseFormat } from "npm:openai@7.57.0/helpers/zod";
import { z } from "zod";
import { fetchModel } from "../../lib/cli/pull.ts";
import { startServe } from "../helpers/served.ts";

const key = "sk-of-the-test", headers = { authorization: `Bearer ${key}` };
const prompt = "What is 2 + 2?", messages = [{ role: "user" as const, content: prompt }];
const short = { temperature: 0, max_tokens: 16 };
const person = z.object({ name: z.string().max(12), age: z.int().min(0).max(150) });
const weather = {
  name: "weather",
  description: "The weather of a city",
  parameters: { type: "object", properties: { city: { type: "string", maxLength: 12 } }, required: ["city"] },
};

Deno.test("real clients and the real model", async (t) => {
  await fetchModel("smollm2-135m");
  const server = await startServe(
    ["smollm2-135m", "--engine", "onnx", "--port", "0", "--context", "1024", "--parallel", "4"],
    { env: { FTL_API_KEY: key } },
  );
  const { url } = server, baseURL = `${url}/v1`;
  /** Answers under way; what somebody has left is over within a token, which takes a moment. */
  const running = async () => {
    const text = await (await fetch(`${url}/metrics`, { headers })).text();
    return Number(/^ftl_requests_running (\d+)/m.exec(text)![1]);
  };
  const allEnded = async () => {
    for (let tries = 0; await running() > 0; tries++) {
      assert.ok(tries < 100, "an answer goes on that nobody reads");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  try {
    const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0 });
    const model = "smollm2-135m";
    await t.step("openai: whole and streamed are the same answer", async () => {
      const whole = await client.chat.completions.create({ model, messages, ...short });
      assert.match(whole.choices[0].message.content!, /\b4\b/);
      assert.equal(whole.choices[0].finish_reason, "stop");
      const stream = client.chat.completions.stream({
        ...{ model, messages, ...short },
        stream_options: { include_usage: true },
      });
      const { choices: [{ message }], usage } = await stream.finalChatCompletion();
      assert.equal(message.content, whole.choices[0].message.content);
      assert.equal(usage!.completion_tokens, whole.usage!.completion_tokens);
    });
    await t.step("openai: a function that must be called, JSON by schema", async () => {
      const { choices: [{ message }] } = await client.chat.completions.create({
        ...{ model, messages: [{ role: "user", content: "How warm is it in Accra?" }], temperature: 0, max_tokens: 60 },
        ...{ tools: [{ type: "function", function: weather }], tool_choice: "required" },
      });
      assert.ok(message.tool_calls![0].type === "function");
      const { name, arguments: given } = message.tool_calls![0].function;
      assert.equal(name, "weather");
      assert.equal(typeof JSON.parse(given).city, "string");
      const parsed = await client.chat.completions.parse({
        ...{ model, messages: [{ role: "user", content: "Invent a person." }], temperature: 0, max_tokens: 80 },
        response_format: zodResponseFormat(person, "person"),
      });
      person.parse(parsed.choices[0].message.parsed);
    });
    await t.step("openai: embeddings and responses", async () => {
      const { data } = await client.embeddings.create({ model, input: ["batik", "wax and dye", "batik"] });
      assert.deepEqual(data[0].embedding, data[2].embedding);
      assert.equal(data[0].embedding.length, 576);
      const response = await client.responses.create({ model, input: prompt, temperature: 0, max_output_tokens: 16 });
      assert.match(response.output_text, /\b4\b/);
    });
    await t.step("openai: leaving ends the answer; a wrong model and a wrong key are refused", async () => {
      const stream = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 900 });
      for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
      await allEnded();
      await assert.rejects(client.models.retrieve("nothing"), OpenAI.NotFoundError);
      const stranger = new OpenAI({ baseURL, apiKey: "sk-wrong", maxRetries: 0 });
      await assert.rejects(stranger.chat.completions.create({ model, messages }), OpenAI.AuthenticationError);
    });
    await t.step("ai: both of its providers, whole and streamed", async () => {
      const providers = [
        createOpenAICompatible({ name: "ftl", baseURL, apiKey: key, includeUsage: true })(model),
        createOpenAI({ baseURL, apiKey: key })(model),
      ];
      for (const model of providers) {
        const asked = { model, prompt, temperature: 0, maxOutputTokens: 16, maxRetries: 0 };
        const whole = await generateText(asked);
        assert.match(whole.text, /\b4\b/);
        const stream = streamText(asked);
        assert.equal(await stream.text, whole.text);
        assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
      }
      const wrong = createOpenAICompatible({ name: "ftl", baseURL, apiKey: "sk-wrong" })(model);
      await assert.rejects(generateText({ model: wrong, prompt, maxRetries: 0 }), /Incorrect API key/);
    });
    await t.step("ai: aborting ends the answer", async () => {
      const leave = new AbortController();
      const model = createOpenAICompatible({ name: "ftl", baseURL, apiKey: key })("any");
      const stream = streamText({ model, prompt, maxRetries: 0, abortSignal: leave.signal, onError: () => {} });
      for await (const part of stream.fullStream) if (part.type === "text-delta") leave.abort();
      await allEnded();
    });
    await t.step("langchain: whole, streamed, by schema", async () => {
      const chain = new ChatOpenAI({
        ...{ model, apiKey: key, maxRetries: 0, temperature: 0, maxTokens: 60 },
        configuration: { baseURL },
      });
      const whole = await chain.invoke(prompt);
      let text = "";
      for await (const chunk of await chain.stream(prompt)) text += chunk.content;
      assert.equal(text, whole.content);
      const found = await chain.withStructuredOutput(person, { method: "jsonSchema", name: "person" }).invoke("Who?");
      person.parse(found);
    });
    await t.step("ollama: chat, generate, a list of models", async () => {
      const client = new Ollama({ host: url, headers });
      const options = { temperature: 0, num_predict: 16 };
      const whole = await client.chat({ model, messages, options });
      assert.match(whole.message.content, /\b4\b/);
      let text = "";
      for await (const part of await client.generate({ model, prompt, options, stream: true })) text += part.response;
      assert.equal(text, whole.message.content);
      assert.deepEqual((await client.list()).models.map(({ name }) => name), [model]);
      await assert.rejects(new Ollama({ host: url }).chat({ model, messages }), /API key/);
    });
  } finally {
    const { code, stderr } = await server.stop();
    assert.deepEqual([code, stderr], [0, ""]);
  }
});
