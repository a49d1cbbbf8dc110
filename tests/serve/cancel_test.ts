/** A client that leaves: its answer ends before the next tokens, whole or streamed, while others go on. */
import assert from "node:assert/strict";
import { post, question, serving, until } from "../helpers/http_server.ts";

const path = "/v1/chat/completions";
const slow = { text: "la ".repeat(500), pace: 10 };

for (const stream of [true, false]) {
  Deno.test(`a client that leaves ends its answer, ${stream ? "streamed" : "whole"}`, () =>
    serving({ script: slow }, async ({ url, engine }) => {
      const leave = new AbortController();
      const request = fetch(url + path, {
        method: "POST",
        signal: leave.signal,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages: question, stream, n: 2 }),
      });
      if (stream) {
        const reader = (await request).body!.getReader();
        await reader.read();
        await until(() => engine.made > 4);
        leave.abort();
        await reader.closed.catch(() => {});
      } else {
        await until(() => engine.made > 4);
        leave.abort();
        await request.catch(() => {});
      }
      await until(() => engine.aborted === 2 && engine.stats().running === 0);
      assert.ok(engine.made < 200, `${engine.made} tokens were made`);
      assert.ok(engine.requests.every(({ signal }) => signal.aborted));
      const metrics = await (await fetch(`${url}/metrics`)).text();
      assert.match(metrics, new RegExp(`"/v1/chat/completions",status="${stream ? 200 : 499}"} 1$`, "m"));
    }));
}

Deno.test("a client that leaves while its prompt is read ends it", () =>
  serving({ script: { text: "Hi", prefill: 60_000 } }, async ({ url, engine }) => {
    for (const stream of [true, false]) {
      const leave = new AbortController();
      const request = fetch(url + path, {
        method: "POST",
        signal: leave.signal,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages: question, stream }),
      });
      await until(() => engine.stats().running === 1);
      leave.abort();
      await request.then((response) => response.body?.cancel()).catch(() => {});
      await until(() => engine.stats().running === 0);
    }
    assert.equal(engine.aborted, 2);
  }));

Deno.test("a server that is stopped says so to those it cannot finish", async () => {
  const started: Promise<string>[] = [];
  await serving({ script: slow }, async ({ url, engine }) => {
    for (const stream of [true, false]) {
      started.push(post(url + path, { messages: question, stream }).then((response) => response.text()));
    }
    await until(() => engine.made > 4);
  });
  for (const text of await Promise.all(started)) assert.match(text, /The server is stopping/);
});

Deno.test("after 100 abandoned requests the next is answered at once", () =>
  serving({ script: ({ maxTokens }) => maxTokens === 1 ? { text: "Hi" } : slow }, async ({ url, engine }) => {
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const leave = new AbortController();
      const request = fetch(url + path, {
        method: "POST",
        signal: leave.signal,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages: question, stream: i % 2 === 0 }),
      });
      setTimeout(() => leave.abort(), 50 + i);
      await request.then((response) => response.body?.cancel()).catch(() => {});
    }));
    const response = await post(url + path, { messages: question, max_tokens: 1 });
    assert.equal(response.status, 200);
    await response.body!.cancel();
    await until(() => engine.stats().running === 0);
  }));

Deno.test("a stop string and the end of a whole answer leave nothing running", () =>
  serving({ script: { ...slow, pace: 1 } }, async ({ url, engine }) => {
    const response = await post(url + path, { messages: question, stop: "la la la" });
    assert.equal((await response.json()).choices[0].finish_reason, "stop");
    await until(() => engine.stats().running === 0);
    assert.ok(engine.made < 20);
  }));
