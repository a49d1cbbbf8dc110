/** Remote models against a server that misbehaves: every case is an answer or one clear line, in time, without secrets. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ChatFailure, withoutSecrets } from "../../lib/hub/chat_failure.ts";
import { makeRemoteModel, type RemoteModel, type RemoteOptions } from "../../lib/hub/remote_model.ts";
import { type Act, type ChatScript, chatScript } from "../helpers/chat_script.ts";

const key = "sk-test-0123456789abcdef";

function remoteOf({ url }: ChatScript, options: Partial<RemoteOptions> = {}): RemoteModel {
  const endpoint = { baseUrl: url, model: "m", key };
  return makeRemoteModel({ endpoint, retries: 2, timeout: 2000, perMinute: 0, seed: 1, firstWait: 5, ...options });
}

const question = (content: string) => ({
  messages: [{ role: "user", content }],
  temperature: 0,
  seed: 1,
  maxTokens: 16,
});

const yes: Act = { do: "answer", text: "yes it is" };

async function failureOf(action: Promise<unknown>): Promise<ChatFailure> {
  try {
    await action;
  } catch (error) {
    assert.ok(error instanceof ChatFailure, String(error));
    assert.ok(!error.message.includes(key) && !error.message.includes("0123456789"), error.message);
    assert.ok(!error.message.includes("\n") && error.message.length < 450, error.message);
    return error;
  }
  assert.fail("it was answered");
}

Deno.test("a streamed answer brings text, tokens and times, and asks as it should", async () => {
  await chatScript(() => ({ ...yes, perPiece: 10 }), async (server) => {
    const { firstToken, total, leftOut: _, ...reply } = await remoteOf(server).ask(question("is it?"));
    assert.deepEqual(reply, { text: "yes it is", finish: "stop", promptTokens: 10, answerTokens: 3 });
    assert.ok(firstToken > 0 && total >= firstToken + 15, `${firstToken} ${total}`);
    const [{ body, authorization }] = server.asked;
    assert.equal(authorization, `Bearer ${key}`);
    assert.deepEqual(body, {
      model: "m",
      messages: [{ role: "user", content: "is it?" }],
      ...{ temperature: 0, seed: 1, max_tokens: 16, stream: true, stream_options: { include_usage: true } },
    });
  });
});

const answered: [string, Act, { text: string; finish: string; answerTokens: number | null }][] = [
  ["a whole completion instead of a stream", { do: "whole", text: " yes " }, {
    ...{ text: "yes", finish: "stop", answerTokens: 3 },
  }],
  ["no usage", { ...yes, usage: false }, { text: "yes it is", finish: "stop", answerTokens: null }],
  ["an answer cut at the limit", { ...yes, finish: "length" }, {
    text: "yes it is",
    finish: "length",
    answerTokens: 3,
  }],
  ["a refusal", { do: "refuse", text: "I will not" }, { text: "I will not", finish: "refused", answerTokens: null }],
  ["a filter", { ...yes, finish: "content_filter" }, { text: "yes it is", finish: "refused", answerTokens: 3 }],
];

for (const [what, act, expected] of answered) {
  Deno.test(`${what} is an answer`, async () => {
    await chatScript(() => act, async (server) => {
      const { text, finish, answerTokens } = await remoteOf(server).ask(question("?"));
      assert.deepEqual({ text, finish, answerTokens }, expected);
      assert.equal(server.asked.length, 1);
    });
  });
}

const page = "<!DOCTYPE html><html>Bad gateway</html>";
/** What goes wrong, how often it is tried, and what is said. */
const passing: [string, Act, RegExp][] = [
  [
    "429",
    { do: "status", status: 429, body: '{"error":{"message":"slow down"}}' },
    /^429, too many requests: slow down/,
  ],
  ["500 with a page of HTML", { do: "status", status: 500, body: page }, /^500, the server failed, 3 times$/],
  ["503", { do: "status", status: 503 }, /^503, the server failed, 3 times$/],
  ["a stream cut off", { do: "cut", after: "yes" }, /^the answer was cut off after 3 characters/],
  ["a connection that breaks", { do: "hang up" }, /^(the connection failed|the answer was cut off)/],
  ["HTML instead of JSON", { do: "body", body: page }, /^not an answer in OpenAI's form: "<!DOCTYPE/],
  ["JSON of another form", { do: "body", body: '{"hello": 1}' }, /^not an answer in OpenAI's form/],
  ["choices that are null", { do: "body", body: '{"choices": null}' }, /^not an answer in OpenAI's form/],
  ["an empty body", { do: "body", body: "" }, /^not an answer in OpenAI's form: ""/],
  ["half a JSON in the stream", { do: "body", body: "data: {\n\n", type: "text/event-stream" }, /^not an answer/],
  ["an empty stream", { do: "body", body: "", type: "text/event-stream" }, /^the answer was cut off after 0/],
  [
    "an error in the stream",
    { do: "error event", message: `overloaded ${key}` },
    /^the server failed: overloaded \[key\]/,
  ],
  [
    "an endless drip",
    { do: "answer", text: "and ".repeat(100), perPiece: 50 },
    /^no whole answer within 0.2 s, 3 times$/,
  ],
  ["silence", { do: "silence" }, /^no whole answer within 0.2 s, 3 times$/],
  [
    "an error page without end",
    { do: "trickle", status: 500, type: "text/html" },
    /^no whole answer within 0.2 s, 3 times$/,
  ],
  [
    "a completion without end",
    { do: "trickle", status: 200, type: "application/json" },
    /^no whole answer within 0.2 s, 3 times$/,
  ],
  [
    "a stream of nothing without end",
    { do: "trickle", status: 200, type: "text/event-stream" },
    /^no whole answer within 0.2 s, 3 times$/,
  ],
];

for (const [what, act, says] of passing) {
  Deno.test(`${what} is tried again, and then said in one line`, async () => {
    await chatScript((_, before) => before === 0 ? act : yes, async (server) => {
      assert.equal((await remoteOf(server, { timeout: 200 }).ask(question("?"))).text, "yes it is");
      assert.equal(server.asked.length, 2);
    });
    await chatScript(() => act, async (server) => {
      const begun = performance.now();
      const failure = await failureOf(remoteOf(server, { timeout: 200 }).ask(question("?")));
      // Three attempts of 0.2 s and waits of 5 and 10 ms; the rest is a busy machine's.
      assert.ok(performance.now() - begun < 5000, "however it misbehaves, it ends");
      assert.match(failure.message, says);
      assert.equal(failure.scope, "question");
      assert.equal(server.asked.length, 3);
    });
  });
}

const echo = `{"error":{"message":"Incorrect API key provided: ${key}. Bearer ${key}"}}`;
const final: [string, Act, RegExp][] = [
  ["401", { do: "status", status: 401, body: echo }, /^401, the key is missing or wrong: Incorrect API key provided/],
  ["402", { do: "status", status: 402 }, /^402, the account has no money left$/],
  ["403", { do: "status", status: 403 }, /^403, the key may not do this$/],
  ["404", { do: "status", status: 404, body: "nothing here" }, /^404, no such model.*: nothing here$/],
  ["a used up quota", {
    ...{ do: "status", status: 429, body: '{"error":{"message":"pay","code":"insufficient_quota"}}' },
  }, /^429, the quota is used up: pay$/],
  ["a redirect", {
    ...{ do: "status", status: 307, headers: { location: "http://127.0.0.1:9/v1/chat/completions" } },
  }, /^307, it redirects elsewhere/],
  ["a wait of an hour", { do: "status", status: 429, headers: { "retry-after": "3600" } }, /left alone for 3600 s$/],
];

for (const [what, act, says] of final) {
  Deno.test(`${what} ends all questions to the model, with one request`, async () => {
    await chatScript(() => act, async (server) => {
      const remote = remoteOf(server);
      assert.match((await failureOf(remote.ask(question("first")))).message, says);
      assert.match((await failureOf(remote.ask(question("second")))).message, says);
      assert.equal(server.asked.length, 1);
    });
  });
}

Deno.test("a refused request fails its question alone", async () => {
  const act = (text: string): Act => text === "bad" ? { do: "status", status: 400, body: "too long" } : yes;
  await chatScript(act, async (server) => {
    const remote = remoteOf(server);
    for (let i = 0; i < 5; i++) {
      assert.equal((await failureOf(remote.ask(question("bad")))).message, "400, the request is refused: too long");
    }
    assert.equal((await remote.ask(question("good"))).text, "yes it is");
    assert.equal(server.asked.length, 6);
  });
});

Deno.test("what a model does not take is left out, its limit under the newer name", async () => {
  const act = (_: string, __: number, body: Record<string, unknown>): Act => {
    const field = ["max_tokens", "temperature"].find((name) => name in body);
    if (field === undefined) return yes;
    return { do: "status", status: 400, body: JSON.stringify({ error: { message: "Unsupported", param: field } }) };
  };
  await chatScript(act, async (server) => {
    const remote = remoteOf(server);
    assert.equal((await remote.ask(question("a"))).text, "yes it is");
    assert.deepEqual((await remote.ask(question("b"))).leftOut, ["max_tokens", "temperature"]);
    assert.equal(server.asked.length, 4, "it is remembered");
    assert.equal(server.asked[3].body.max_completion_tokens, 16);
    assert.ok(!("temperature" in server.asked[3].body));
  });
});

Deno.test("Retry-After holds for every question to the server", async () => {
  let first = true;
  const act = (): Act => {
    if (!first) return yes;
    first = false;
    return { do: "status", status: 429, headers: { "retry-after": "0.3" } };
  };
  await chatScript(act, async (server) => {
    const remote = remoteOf(server), waits: number[] = [];
    const a = remoteOf(server, { onWait: (_, milliseconds) => waits.push(milliseconds) });
    await Promise.all([
      a.ask(question("a")),
      new Promise((done) => setTimeout(done, 60)).then(() => a.ask(question("b"))),
    ]);
    assert.deepEqual(waits, [300]);
    assert.ok(server.asked.slice(1).every(({ at }) => at - server.asked[0].at >= 290), "both waited");
    await remote.ask(question("c"));
  });
});

Deno.test("perMinute spaces requests, and a stopped run waits no longer", async () => {
  await chatScript(() => yes, async (server) => {
    const stop = new AbortController();
    const remote = remoteOf(server, { perMinute: 600 });
    await Promise.all(["a", "b", "c"].map((text) => remote.ask(question(text))));
    const times = server.asked.map(({ at }) => at - server.asked[0].at);
    assert.ok(times[1] >= 90 && times[2] >= 190, `${times}`);
    const waiting = remoteOf(server, { perMinute: 1 });
    await waiting.ask(question("d"), stop.signal);
    const late = waiting.ask(question("e"), stop.signal);
    stop.abort(new Error("stopped"));
    await assert.rejects(late, /stopped/);
    assert.equal(server.asked.length, 4);
  });
});

Deno.test("a server that is down is given up after three questions", async () => {
  await chatScript(() => ({ do: "status", status: 500 }), async (server) => {
    const remote = remoteOf(server, { retries: 0 });
    for (const text of ["a", "b", "c"]) assert.match((await failureOf(remote.ask(question(text)))).message, /^500/);
    assert.match((await failureOf(remote.ask(question("d")))).message, /given up after 3 questions in a row$/);
    assert.equal(server.asked.length, 3);
  });
  const nobody = makeRemoteModel({
    ...{ endpoint: { baseUrl: "http://127.0.0.1:9/v1", model: "m", key }, retries: 1, timeout: 2000 },
    ...{ perMinute: 0, seed: 1, firstWait: 1 },
  });
  assert.match((await failureOf(nobody.ask(question("a")))).message, /^the connection failed: /);
});

Deno.test("withoutSecrets() lets no key through, wherever it stands", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.stringMatching(/^[\x21-\x7e]{8,60}$/), (before, after, secret) => {
      const said = withoutSecrets(before + secret + after, secret);
      assert.ok(!said.includes(secret) || "[key]".includes(secret), said);
    }),
  );
  assert.equal(withoutSecrets("key sk-abc***wxyz is wrong", null), "key [key] is wrong");
});
