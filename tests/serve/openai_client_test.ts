/** npm openai against a real port: plain, streamed, its stream helper, errors, cancelling. */
import assert from "node:assert/strict";
import OpenAI from "npm:openai@7.57.0";
import { serving, until } from "../helpers/http_server.ts";

const clientOf = (url: string, options: object = {}) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, ...options });
const messages = [{ role: "user" as const, content: "Hi" }];

Deno.test("openai: a whole answer, a stream, and the stream helper's sum of it", () =>
  serving({}, async ({ url }) => {
    const client = clientOf(url);
    const whole = await client.chat.completions.create({ model: "gpt-5.4", messages });
    assert.equal(whole.choices[0].message.content, "Hello there!");
    assert.equal(whole.model, "base");
    let text = "";
    for await (const chunk of await client.chat.completions.create({ model: "base", messages, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
    assert.equal(text, "Hello there!");
    const helper = client.chat.completions.stream({
      model: "base",
      messages,
      n: 2,
      logprobs: true,
      stream_options: { include_usage: true },
    });
    const final = await helper.finalChatCompletion();
    assert.deepEqual(final.choices.map(({ message, finish_reason }) => [message.content, finish_reason]), [
      ["Hello there!", "stop"],
      ["Hello there!", "stop"],
    ]);
    assert.equal(final.usage!.completion_tokens, 6);
    assert.equal(final.choices[0].logprobs!.content!.length, 3);
  }));

Deno.test("openai: models, and its client's paths with a doubled slash", () =>
  serving({}, async ({ url }) => {
    const names = [];
    for await (const model of clientOf(url).models.list()) names.push(model.id);
    assert.deepEqual(names, ["base", "base-tuned"]);
    assert.equal((await clientOf(`${url}/`).models.retrieve("base-tuned")).owned_by, "ftl");
    await assert.rejects(clientOf(url).models.retrieve("none"), OpenAI.NotFoundError);
    await assert.rejects(clientOf(url).models.delete("base"), (error) => (error as { status: number }).status === 405);
  }));

Deno.test("openai: errors are the classes it has for them, with message and code", () =>
  serving({ apiKey: "sk-right", contextLength: 50 }, async ({ url, engine }) => {
    const right = clientOf(url, { apiKey: "sk-right" });
    const ask = (client: OpenAI, fields: object = {}) =>
      client.chat.completions.create({ model: "base", messages, ...fields });
    await assert.rejects(ask(clientOf(url)), OpenAI.AuthenticationError);
    await assert.rejects(ask(right, { model: "base-tunex" }), OpenAI.NotFoundError);
    await assert.rejects(
      ask(right, { temperature: 9 }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
    );
    const long = [{ role: "user", content: "word ".repeat(99) }];
    for (const stream of [false, true]) {
      await assert.rejects(
        ask(right, { messages: long, stream }),
        (error) => error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded",
      );
    }
    engine.full = true;
    await assert.rejects(ask(right), OpenAI.RateLimitError);
  }));

Deno.test("openai: a failure in the middle of a stream is an APIError with its message, to the helper too", () =>
  serving({ script: { text: "one two three", failAt: 2 } }, async ({ url }) => {
    const stream = await clientOf(url).chat.completions.create({ model: "base", messages, stream: true });
    let text = "";
    const read = async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    };
    await assert.rejects(read(), (error) => error instanceof OpenAI.APIError && /failed to answer/.test(error.message));
    assert.equal(text, "one two");
    const helper = clientOf(url).chat.completions.stream({ model: "base", messages });
    await assert.rejects(helper.finalContent(), OpenAI.APIError);
  }));

Deno.test("openai: a failure is not asked for again, a full queue is", () =>
  serving({ script: { text: "one", failAt: 0 } }, async ({ url, engine }) => {
    const client = clientOf(url, { maxRetries: 2 });
    await assert.rejects(client.chat.completions.create({ model: "base", messages }), OpenAI.InternalServerError);
    assert.equal(engine.requests.length, 1);
    engine.full = true;
    const waiting = client.chat.completions.create({ model: "base", messages });
    setTimeout(() => engine.full = false, 50);
    await assert.rejects(waiting, OpenAI.InternalServerError);
    assert.equal(engine.requests.length, 2);
  }));

Deno.test("openai: aborting and breaking out of a stream end the answer", () =>
  serving({ script: { text: "la ".repeat(500), pace: 5 } }, async ({ url, engine }) => {
    const stream = await clientOf(url).chat.completions.create({ model: "base", messages, stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    await until(() => engine.aborted === 1 && engine.stats().running === 0);
    const helper = clientOf(url).chat.completions.stream({ model: "base", messages });
    helper.on("content", () => helper.abort());
    await assert.rejects(helper.finalContent(), OpenAI.APIUserAbortError);
    await until(() => engine.aborted === 2 && engine.stats().running === 0);
    assert.ok(engine.made < 200);
  }));

Deno.test("openai: silence during a long prompt does not end a stream", () =>
  serving({ script: { text: "Hi", prefill: 300 }, keepAlive: 50 }, async ({ url }) => {
    assert.equal(await clientOf(url).chat.completions.stream({ model: "base", messages }).finalContent(), "Hi");
  }));
