/** Chat completions over a real port: what each chunk holds, stops, characters, fields, errors in the middle. */
import assert from "node:assert/strict";
import { eventsOf, post, question, serving } from "../helpers/http_server.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

Deno.test("a whole answer has the fields that OpenAI's specification requires", () =>
  serving({ script: { text: "Hello there!", cached: 3 } }, async ({ url, engine }) => {
    const response = await post(`${url}/v1/chat/completions`, { model: "base", messages: question });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    const body = await response.json();
    assert.match(body.id, /^chatcmpl-\w{32}$/);
    assert.equal(body.object, "chat.completion");
    assert.equal(body.model, "base");
    assert.deepEqual(body.choices, [{
      index: 0,
      message: { role: "assistant", content: "Hello there!", refusal: null },
      logprobs: null,
      finish_reason: "stop",
    }]);
    const prompt = engine.requests[0].tokens.length;
    assert.deepEqual(body.usage, {
      prompt_tokens: prompt,
      completion_tokens: 3,
      total_tokens: prompt + 3,
      prompt_tokens_details: { cached_tokens: 3 },
    });
    assert.equal(
      smollm2Tokenizer().decode(engine.requests[0].tokens),
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
  }));

Deno.test("a stream is a role, pieces that are never empty, one end, and [DONE]", () =>
  serving({}, async ({ url }) => {
    const response = await post(`${url}/v1/chat/completions`, { messages: question, stream: true });
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    const events = eventsOf(await response.text()) as Any[];
    assert.equal(events.pop(), "[DONE]");
    for (const key of ["id", "created", "model", "object"]) {
      assert.equal(new Set(events.map((event) => event[key])).size, 1, key);
    }
    assert.equal(events[0].object, "chat.completion.chunk");
    assert.deepEqual(events[0].choices, [{
      index: 0,
      delta: { role: "assistant", content: "" },
      logprobs: null,
      finish_reason: null,
    }]);
    const middle = events.slice(1, -1).map(({ choices: [choice] }) => choice);
    assert.ok(middle.every(({ delta, finish_reason }) => delta.content !== "" && finish_reason === null));
    assert.ok(middle.every(({ delta }) => Object.keys(delta).join() === "content"));
    assert.equal(middle.map(({ delta }) => delta.content).join(""), "Hello there!");
    assert.deepEqual(events.at(-1).choices, [{ index: 0, delta: {}, logprobs: null, finish_reason: "stop" }]);
    assert.ok(events.every((event) => !("usage" in event)));
  }));

Deno.test("usage comes in a stream only when it was asked for, in a chunk without choices", () =>
  serving({}, async ({ url }) => {
    const body = { messages: question, stream: true, stream_options: { include_usage: true } };
    const events = eventsOf(await (await post(`${url}/v1/chat/completions`, body)).text()) as Any[];
    const usage = events.at(-2);
    assert.deepEqual(usage.choices, []);
    assert.equal(usage.usage.completion_tokens, 3);
    assert.ok(events.slice(0, -2).every((event) => event.usage === null));
    assert.equal(events.slice(0, -2).filter(({ choices: [choice] }) => choice.finish_reason !== null).length, 1);
  }));

Deno.test("no part of a stop string is sent, wherever tokens cut it, and what only looked like one is", async (t) => {
  const cases: [string, string | string[], string, string][] = [
    ["one two three four", " three", "one two", "stop"],
    ["one two three four", ["four", "two t"], "one ", "stop"],
    ["abcabcabd", "abd", "abcabc", "stop"],
    ["ends with a beginning ST", "STOP", "ends with a beginning ST", "stop"],
    ["naïve café", "é", "naïve caf", "stop"],
    ["stop", "stop", "", "stop"],
  ];
  for (const [text, stop, expected, finish] of cases) {
    await t.step(`${text} | ${stop}`, () =>
      serving({ script: { text } }, async ({ url, engine }) => {
        const whole = await (await post(`${url}/v1/chat/completions`, { messages: question, stop })).json();
        assert.equal(whole.choices[0].message.content, expected);
        assert.equal(whole.choices[0].finish_reason, finish);
        const stream = await post(`${url}/v1/chat/completions`, { messages: question, stop, stream: true });
        const events = eventsOf(await stream.text()).slice(0, -1) as Any[];
        const sent = events.map(({ choices: [{ delta }] }) => delta.content ?? "").join("");
        assert.equal(sent, expected);
        assert.ok(engine.made < 40);
      }));
  }
});

Deno.test("characters of several tokens are sent whole, one cut off at the end as U+FFFD", () =>
  serving({ script: { text: "日本 😀 ü" } }, async ({ url }) => {
    const response = await post(`${url}/v1/chat/completions`, { messages: question, stream: true });
    const events = eventsOf(await response.text()).slice(0, -1) as Any[];
    const pieces = events.map(({ choices: [{ delta }] }) => delta.content ?? "");
    assert.equal(pieces.join(""), "日本 😀 ü");
    assert.ok(pieces.every((piece) => !piece.includes("\ufffd")));
    const cut = await (await post(`${url}/v1/chat/completions`, { messages: question, max_tokens: 1 })).json();
    assert.equal(cut.choices[0].message.content, "\ufffd");
    assert.equal(cut.choices[0].finish_reason, "length");
  }));

Deno.test("every field about sampling reaches the engine", () =>
  serving({}, async ({ url, engine }) => {
    const body = {
      messages: [{ role: "developer", content: [{ type: "text", text: "Be" }, { type: "text", text: " brief" }] }, {
        role: "user",
        content: [{ type: "text", text: "Hi" }],
      }],
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: 1,
      frequency_penalty: -1,
      repetition_penalty: 1.1,
      logit_bias: { "5": -100, "7": 3.5 },
      seed: 42,
      max_completion_tokens: 2,
      max_tokens: 100,
      service_tier: "auto",
      metadata: { a: "b" },
      store: null,
      top_logprobs: null,
    };
    const answer = await (await post(`${url}/v1/chat/completions`, body)).json();
    assert.equal(answer.choices[0].finish_reason, "length");
    const [request] = engine.requests;
    assert.deepEqual(
      [request.temperature, request.topP, request.topK, request.minP, request.seed, request.maxTokens],
      [0.5, 0.9, 40, 0.05, 42, 2],
    );
    assert.deepEqual([request.presencePenalty, request.frequencyPenalty, request.repetitionPenalty], [1, -1, 1.1]);
    assert.deepEqual([...request.logitBias], [[5, -100], [7, 3.5]]);
    assert.equal(
      smollm2Tokenizer().decode(request.tokens),
      "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
  }));

Deno.test("without a limit an answer goes to the end of the context", () =>
  serving({ contextLength: 40, script: { text: "la ".repeat(100) } }, async ({ url, engine }) => {
    const answer = await (await post(`${url}/v1/chat/completions`, { messages: question })).json();
    assert.equal(answer.choices[0].finish_reason, "length");
    assert.equal(answer.usage.total_tokens, 40);
    assert.equal(engine.requests[0].maxTokens, 40 - engine.requests[0].tokens.length);
    await (await post(`${url}/v1/chat/completions`, { messages: question, max_tokens: -1 })).json();
    assert.equal(engine.requests[1].maxTokens, engine.requests[0].maxTokens);
  }));

Deno.test("n answers have seeds of their own, distinct indices, and one sum of tokens", () =>
  serving({ script: ({ seed }) => ({ text: `answer ${seed}` }) }, async ({ url }) => {
    const body = { messages: question, n: 3, seed: 7 };
    const whole = await (await post(`${url}/v1/chat/completions`, body)).json();
    assert.deepEqual(whole.choices.map((choice: Any) => [choice.index, choice.message.content]), [
      [0, "answer 7"],
      [1, "answer 8"],
      [2, "answer 9"],
    ]);
    assert.equal(whole.usage.completion_tokens, 9);
    const stream = await (await post(`${url}/v1/chat/completions`, { ...body, stream: true })).text();
    const texts = ["", "", ""], ends = [0, 0, 0];
    for (const event of eventsOf(stream).slice(0, -1) as Any[]) {
      const [{ index, delta, finish_reason }] = event.choices;
      texts[index] += delta.content ?? "";
      ends[index] += finish_reason ? 1 : 0;
    }
    assert.deepEqual([texts, ends], [["answer 7", "answer 8", "answer 9"], [1, 1, 1]]);
  }));

Deno.test("logprobs belong to tokens and come with the text they made", () =>
  serving({ script: { text: "Hi 😀" } }, async ({ url }) => {
    const body = { messages: question, logprobs: true, top_logprobs: 2 };
    const { choices: [{ logprobs }] } = await (await post(`${url}/v1/chat/completions`, body)).json();
    const bytes = logprobs.content.flatMap((entry: Any) => entry.bytes);
    assert.equal(new TextDecoder().decode(Uint8Array.from(bytes)), "Hi 😀");
    assert.deepEqual(Object.keys(logprobs.content[0]).sort(), ["bytes", "logprob", "token", "top_logprobs"]);
    assert.equal(logprobs.content[0].top_logprobs.length, 2);
    assert.equal(logprobs.content[0].token, "Hi");
    const stream = await (await post(`${url}/v1/chat/completions`, { ...body, stream: true })).text();
    const streamed = (eventsOf(stream).slice(0, -1) as Any[])
      .flatMap(({ choices: [choice] }) => choice.logprobs?.content ?? []);
    assert.deepEqual(streamed, logprobs.content);
  }));

Deno.test("foreign model names get the first model and are told so; a near miss among several is 404", () =>
  serving({}, async ({ url, engine }) => {
    const ask = async (model: unknown) => {
      const response = await post(`${url}/v1/chat/completions`, { model, messages: question });
      return [response.status, await response.json()] as const;
    };
    for (const name of ["gpt-5.4", "llama3", undefined, null, ""]) {
      const [status, body] = await ask(name);
      assert.deepEqual([status, body.model], [200, "base"], String(name));
    }
    for (const [name, id] of [["base-tuned", "base-tuned"], ["smollm2", "base"], ["base:latest", "base"]]) {
      assert.equal((await ask(name))[1].model, id);
      assert.equal(engine.requests.at(-1)!.model, id);
    }
    const [status, { error }] = await ask("base-tunde");
    assert.deepEqual([status, error.code, error.param], [404, "model_not_found", "model"]);
  }));

Deno.test("an error in the middle of a stream is an event with a message and no path", () =>
  serving({ script: { text: "one two three", failAt: 2 } }, async ({ url, reported }) => {
    const stream = await (await post(`${url}/v1/chat/completions`, { messages: question, stream: true })).text();
    const events = eventsOf(stream) as Any[];
    const { error } = events.at(-1);
    assert.equal(error.type, "server_error");
    assert.equal(typeof error.message, "string");
    assert.ok(!stream.includes("secret"));
    const whole = await post(`${url}/v1/chat/completions`, { messages: question });
    assert.equal(whole.status, 500);
    assert.ok(!(await whole.text()).includes("secret"));
    assert.equal(reported.length, 2);
  }));

Deno.test("a stream's headers and role come at once, and comments while the prompt is read", () =>
  serving({ script: { text: "Hi", prefill: 400 }, keepAlive: 100 }, async ({ url }) => {
    const began = performance.now();
    const response = await post(`${url}/v1/chat/completions`, { messages: question, stream: true });
    assert.ok(performance.now() - began < 300);
    const stream = await response.text();
    assert.ok(stream.match(/^: /gm)!.length >= 2, stream);
    assert.equal(eventsOf(stream).at(-1), "[DONE]");
  }));
