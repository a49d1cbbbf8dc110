/** The AI SDK and LangChain against a real port: plain, streamed, usage, errors, cancelling. */
import assert from "node:assert/strict";
import { createOpenAICompatible } from "npm:@ai-sdk/openai-compatible@3.0.92";
import { ChatOpenAI } from "npm:@langchain/openai@1.6.0";
import { generateText, streamText } from "npm:ai@7.0.173";
import { serving, until } from "../helpers/http_server.ts";

const aiModel = (url: string, name = "base", apiKey = "none") =>
  createOpenAICompatible({ name: "ftl", baseURL: `${url}/v1`, apiKey, includeUsage: true })(name);
const chain = (url: string, options: object = {}) =>
  new ChatOpenAI({
    model: "base",
    apiKey: "none",
    maxRetries: 0,
    configuration: { baseURL: `${url}/v1` },
    ...options,
  });

Deno.test("ai: a whole answer and a stream with usage", () =>
  serving({}, async ({ url }) => {
    const whole = await generateText({ model: aiModel(url), prompt: "Hi", maxRetries: 0 });
    assert.equal(whole.text, "Hello there!");
    assert.equal(whole.finishReason, "stop");
    assert.equal(whole.usage.outputTokens, 3);
    const stream = streamText({ model: aiModel(url), prompt: "Hi", maxRetries: 0 });
    assert.equal(await stream.text, "Hello there!");
    assert.equal(await stream.finishReason, "stop");
    assert.equal((await stream.usage).outputTokens, 3);
  }));

Deno.test("ai: errors keep their message, before and in the middle of a stream", () =>
  serving({ apiKey: "sk-right", script: { text: "one two three", failAt: 2 } }, async ({ url }) => {
    const refused = generateText({ model: aiModel(url), prompt: "Hi", maxRetries: 0 });
    await assert.rejects(refused, /Incorrect API key provided/);
    const near = generateText({ model: aiModel(url, "base-tunex", "sk-right"), prompt: "Hi", maxRetries: 0 });
    await assert.rejects(near, /base-tunex/);
    const errors: unknown[] = [];
    const stream = streamText({
      model: aiModel(url, "base", "sk-right"),
      prompt: "Hi",
      maxRetries: 0,
      onError: ({ error }) => void errors.push(error),
    });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, "one two");
    assert.match(String((errors[0] as Error).message ?? errors[0]), /failed to answer/);
  }));

Deno.test("ai: aborting ends the answer", () =>
  serving({ script: { text: "la ".repeat(500), pace: 5 } }, async ({ url, engine }) => {
    const leave = new AbortController();
    const stream = streamText({ model: aiModel(url), prompt: "Hi", abortSignal: leave.signal, onError: () => {} });
    for await (const part of stream.fullStream) if (part.type === "text-delta") leave.abort();
    await until(() => engine.aborted === 1 && engine.stats().running === 0);
  }));

Deno.test("langchain: a whole answer, a stream with usage, and a limit under both names", () =>
  serving({ script: { text: "one two three four" } }, async ({ url, engine }) => {
    const whole = await chain(url).invoke("Hi");
    assert.equal(whole.content, "one two three four");
    assert.equal(whole.usage_metadata!.output_tokens, 4);
    let text = "", total = 0;
    for await (const chunk of await chain(url).stream("Hi")) {
      text += chunk.content;
      total += chunk.usage_metadata?.output_tokens ?? 0;
    }
    assert.deepEqual([text, total], ["one two three four", 4]);
    const limited = await chain(url, { maxTokens: 2 }).invoke("Hi");
    assert.equal(limited.content, "one two");
    const newer = await chain(url, { model: "gpt-5", maxTokens: 3, useResponsesApi: false }).invoke("Hi");
    assert.equal(newer.content, "one two three");
    assert.equal(engine.requests.at(-1)!.maxTokens, 3);
  }));

Deno.test("langchain: a context that is too small is recognised, a key too", () =>
  serving({ contextLength: 50, apiKey: "sk-right" }, async ({ url }) => {
    const long = chain(url, { apiKey: "sk-right" }).invoke("word ".repeat(99));
    await assert.rejects(long, (error) => /maximum context length/.test((error as Error).message));
    await assert.rejects(long, (error) => (error as Error).name === "ContextOverflowError");
    await assert.rejects(chain(url).invoke("Hi"), (error) => (error as { status: number }).status === 401);
  }));
