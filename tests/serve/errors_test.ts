/** What a server answers to requests that are wrong, foreign, too large or too slow. It must go on serving after each. */
import assert from "node:assert/strict";
import { post, question, serving } from "../helpers/http_server.ts";

const path = "/v1/chat/completions";

async function errorOf(response: Response, status: number) {
  assert.equal(response.status, status);
  assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
  const text = await response.text();
  assert.ok(!/\bat .*\.ts:\d+/.test(text), `a stack: ${text}`);
  const { error } = JSON.parse(text);
  assert.deepEqual(Object.keys(error).slice(0, 4), ["message", "type", "param", "code"]);
  assert.equal(typeof error.message, "string");
  return error;
}

async function stillServes(url: string, headers: Record<string, string> = {}) {
  const response = await post(url + path, { messages: question }, headers);
  assert.equal(response.status, 200);
  await response.body!.cancel();
}

Deno.test("a malformed body is 400 and the message says where", () =>
  serving({}, async ({ url }) => {
    const cases: [string, RegExp][] = [
      ["", /empty/],
      ["  \n", /empty/],
      ["{", /line 1, column 2/],
      ['{"messages":\n [x]}', /line 2, column 3 \(byte 15\)/],
      ["{'messages': []}", /line 1, column 2/],
      ['{"a": 1} trailing', /line 1, column 10/],
      ['{"a": "\u0001"}', /line 1, column 8/],
      ["[".repeat(200_000), /not JSON/],
    ];
    for (const [body, message] of cases) {
      const error = await errorOf(await post(url + path, body), 400);
      assert.match(error.message, message, body.slice(0, 30));
      assert.equal(error.code, "invalid_json");
    }
    for (const body of ["null", "[]", "3", '"text"', "{}"]) await errorOf(await post(url + path, body), 400);
    const bytes = Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]);
    const response = await fetch(url + path, {
      method: "POST",
      body: bytes,
      headers: { "content-type": "application/json" },
    });
    assert.match((await errorOf(response, 400)).message, /not UTF-8: byte 2/);
    await stillServes(url);
  }));

Deno.test("a field of a wrong type or out of its range is 400 and named", () =>
  serving({}, async ({ url }) => {
    const cases: [object, string][] = [
      [{ messages: undefined }, "messages"],
      [{ messages: [] }, "messages"],
      [{ messages: "Hi" }, "messages"],
      [{ messages: ["Hi"] }, "messages.0"],
      [{ messages: [{ content: "Hi" }] }, "messages.0.role"],
      [{ messages: [{ role: "robot", content: "Hi" }] }, "messages.0.role"],
      [{ messages: [{ role: "user" }] }, "messages.0.content"],
      [{ messages: [{ role: "user", content: null }] }, "messages.0.content"],
      [{ messages: [{ role: "user", content: 3 }] }, "messages.0.content"],
      [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] }, "messages.0.content.0.type"],
      [{ messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages.0.content.0.text"],
      [{ temperature: "hot" }, "temperature"],
      [{ temperature: -1 }, "temperature"],
      [{ temperature: 2.1 }, "temperature"],
      [{ top_p: 1.5 }, "top_p"],
      [{ top_k: 1.5 }, "top_k"],
      [{ n: 0 }, "n"],
      [{ n: 129 }, "n"],
      [{ presence_penalty: 3 }, "presence_penalty"],
      [{ max_tokens: 0 }, "max_tokens"],
      [{ max_tokens: -5 }, "max_tokens"],
      [{ max_completion_tokens: 1.5 }, "max_completion_tokens"],
      [{ stop: ["a", "b", "c", "d", "e"] }, "stop"],
      [{ stop: 5 }, "stop"],
      [{ stream: "yes" }, "stream"],
      [{ stream_options: { include_usage: true } }, "stream_options"],
      [{ logit_bias: { x: 1 } }, "logit_bias.x"],
      [{ logit_bias: { "5": 101 } }, "logit_bias.5"],
      [{ logit_bias: { "99999999": 1 } }, "logit_bias"],
      [{ top_logprobs: 3 }, "top_logprobs"],
      [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
      [{ seed: 1.5 }, "seed"],
      [{ model: 5 }, "model"],
      [{ response_format: { type: "xml" } }, "response_format.type"],
      [{ response_format: { type: "json_schema" } }, "response_format.json_schema"],
      [{ tools: {} }, "tools"],
      [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools.0.function.name"],
      [{ tool_choice: "required" }, "tool_choice"],
      [{ tool_choice: { type: "function", function: { name: "none" } } }, "tool_choice"],
    ];
    for (const [fields, param] of cases) {
      const error = await errorOf(await post(url + path, { messages: question, ...fields }), 400);
      assert.equal(error.param, param, JSON.stringify(fields));
      assert.ok(error.message.startsWith(param.split(".")[0]), error.message);
      assert.equal(error.type, "invalid_request_error");
    }
    await stillServes(url);
  }));

Deno.test("whatever a field holds, the answer is 200 or 400", () =>
  serving({ script: { text: "Hi" }, contextLength: 300 }, async ({ url, reported }) => {
    const fields = [
      "messages messages.0 messages.0.role messages.0.content messages.0.content.0 messages.0.tool_calls",
      "messages.0.tool_calls.0 model temperature top_p top_k min_p n stream stop seed logit_bias logprobs",
      "top_logprobs max_tokens response_format tools tools.0 tools.0.function tools.0.function.parameters tool_choice",
      "__proto__ constructor",
    ].join(" ").split(" ");
    const values = ["null", "[]", "{}", "[[]]", "[null]", "-1", "0", "1e308", '""', '"\\ud800"', "true", '{"type": 5}'];
    for (const field of fields) {
      for (const value of values) {
        const body: Record<string, unknown> = {
          messages: [{ role: "user", content: [{ type: "text", text: "Hi" }], tool_calls: [{}] }],
          tools: [{ type: "function", function: { name: "f", parameters: {} } }],
          max_tokens: 3,
        };
        if (!field.includes("tool_calls")) delete (body.messages as Record<string, unknown>[])[0].tool_calls;
        const keys = field.split(".");
        const place = keys.slice(0, -1).reduce((at, key) => (at as Record<string, unknown>)[key], body as unknown);
        Object.defineProperty(place, keys.at(-1)!, { value: "@", enumerable: true, configurable: true });
        const response = await post(url + path, JSON.stringify(body).replace('"@"', value));
        await response.body!.cancel();
        assert.ok(response.status === 200 || response.status === 400, `${field} ${value}: ${response.status}`);
      }
    }
    assert.deepEqual(reported, []);
  }));

Deno.test("a prompt that does not fit names both numbers, in words that clients look for", () =>
  serving({ contextLength: 60 }, async ({ url, engine }) => {
    for (const stream of [false, true]) {
      const messages = [{ role: "user", content: "word ".repeat(100) }];
      const error = await errorOf(await post(url + path, { messages, stream }), 400);
      assert.equal(error.code, "context_length_exceeded");
      assert.equal(error.type, "exceed_context_size_error");
      assert.equal(error.param, "messages");
      assert.equal(error.n_ctx, 60);
      assert.ok(error.n_prompt_tokens > 100);
      assert.match(
        error.message,
        /maximum context length is 60 tokens; the request \(\d+ tokens\) exceeds the available/,
      );
      assert.ok(error.message.includes(String(error.n_prompt_tokens)));
    }
    const huge = [{ role: "user", content: "word ".repeat(150_000) }];
    const began = performance.now();
    const error = await errorOf(await post(url + path, { messages: huge }), 400);
    assert.match(error.message, /\(about \d+ tokens\)/);
    assert.ok(Math.abs(error.n_prompt_tokens - 150_000) < 15_000, String(error.n_prompt_tokens));
    assert.ok(performance.now() - began < 1000);
    assert.equal(engine.requests.length, 0);
    await stillServes(url);
  }));

Deno.test("10,000 messages are read", () =>
  serving({ contextLength: 200_000 }, async ({ url, engine }) => {
    const messages = Array.from({ length: 10_000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "a" }));
    const response = await post(url + path, { messages: [...messages, ...question] });
    assert.equal(response.status, 200);
    await response.body!.cancel();
    assert.ok(engine.requests[0].tokens.length > 50_000);
  }));

Deno.test("a template that refuses or fails is 400", async (t) => {
  const templates: [string, RegExp][] = [
    ["{{ raise_exception('Roles must alternate') }}", /Roles must alternate/],
    ["{{ messages[0].content | nothing }}", /cannot be rendered/],
    ["{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", /takes more steps/],
  ];
  for (const [template, message] of templates) {
    await t.step(template, () =>
      serving({ template }, async ({ url, engine }) => {
        assert.match((await errorOf(await post(url + path, { messages: question }), 400)).message, message);
        assert.equal(engine.requests.length, 0);
      }));
  }
});

Deno.test("a body over the limit is 413, announced or not", () =>
  serving({ bodyLimit: 10_000 }, async ({ url }) => {
    const large = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(20_000) }] });
    assert.match((await errorOf(await post(url + path, large), 413)).message, /10000 bytes/);
    let left = 500;
    const chunks = new ReadableStream({
      async pull(controller) {
        if (--left < 0) return controller.close();
        await new Promise((resolve) => setTimeout(resolve, 1));
        controller.enqueue(new TextEncoder().encode("x".repeat(4000)));
      },
    });
    const headers = { "content-type": "application/json" };
    const response = await fetch(url + path, { method: "POST", body: chunks, headers }).catch(() => undefined);
    if (response) await errorOf(response, 413);
    await stillServes(url);
  }));

Deno.test("a sender that never ends is cut off", () =>
  serving({ bodyLimit: 10_000 }, async ({ url }) => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
    const send = (text: string) => connection.write(new TextEncoder().encode(text));
    await send(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    let answer = "";
    const reading = (async () => {
      for await (const bytes of connection.readable) answer += new TextDecoder().decode(bytes);
    })().catch(() => {});
    const piece = `fa0\r\n${"x".repeat(4000)}\r\n`;
    let sent = 0;
    for (let open = true; open && sent < 20_000; sent++) open = await send(piece).then(() => true, () => false);
    await reading;
    assert.match(answer, /^HTTP\/1.1 413 /);
    assert.ok(sent < 20_000);
    await stillServes(url);
  }));

Deno.test("a sender that stops in the middle is 408, one that leaves disturbs nothing", () =>
  serving({ bodyTimeout: 200 }, async ({ url }) => {
    const { port } = new URL(url);
    const head =
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"mess`;
    const slow = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    await slow.write(new TextEncoder().encode(head));
    const buffer = new Uint8Array(2000);
    const length = await slow.read(buffer);
    assert.match(new TextDecoder().decode(buffer.subarray(0, length!)), /^HTTP\/1.1 408 /);
    slow.close();
    const gone = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    await gone.write(new TextEncoder().encode(head));
    gone.close();
    await stillServes(url);
  }));

Deno.test("content types, paths and methods: 415, 404, 405, and what clients' bases make of paths", () =>
  serving({}, async ({ url }) => {
    await errorOf(await post(url + path, { messages: question }, { "content-type": "text/plain" }), 415);
    await errorOf(await post(url + path, "a=b", { "content-type": "application/x-www-form-urlencoded" }), 415);
    for (const type of ["application/json; charset=utf-8", "Application/JSON"]) {
      await stillServes(url, { "content-type": type });
    }
    const unknown = [
      "/v1/unknown",
      "/v2/chat/completions",
      "/v1/chat/completions/x",
      "/etc/passwd",
      "/..%2f..%2fetc/passwd",
    ];
    for (const each of unknown) {
      assert.equal((await errorOf(await fetch(url + each), 404)).code, "unknown_url", each);
    }
    const wrong = await fetch(`${url}/v1/models/base`, { method: "DELETE" });
    assert.equal(wrong.headers.get("allow"), "GET");
    await errorOf(wrong, 405);
    await errorOf(await fetch(url + path), 405);
    await errorOf(await post(`${url}/v1/models`, {}), 405);
    for (
      const each of ["//v1//chat/completions", "/v1/chat/completions/", "/chat/completions", "//chat//completions"]
    ) {
      const response = await post(url + each, { messages: question });
      assert.equal(response.status, 200, each);
      await response.body!.cancel();
    }
    const models = await (await fetch(`${url}/v1//models`)).json();
    assert.deepEqual(models.data.map(({ id, parent }: { id: string; parent: unknown }) => [id, parent]), [
      ["base", null],
      ["base-tuned", "base"],
    ]);
    for (const key of ["id", "object", "created", "owned_by"]) assert.ok(key in models.data[0], key);
    assert.equal((await (await fetch(`${url}/v1/models/base-tuned`)).json()).parent, "base");
    for (const id of ["nothing", "a/b", "%2e%2e%2fbase", "%ff"]) {
      assert.equal((await errorOf(await fetch(`${url}/v1/models/${id}`), 404)).code, "model_not_found", id);
    }
  }));

Deno.test("a full queue is 429 with a time to wait", () =>
  serving({}, async ({ url, engine }) => {
    engine.full = true;
    for (const stream of [false, true]) {
      const response = await post(url + path, { messages: question, stream, n: 2 });
      assert.equal(response.headers.get("retry-after"), "3");
      assert.equal((await errorOf(response, 429)).code, "queue_full");
    }
    engine.full = false;
    await stillServes(url);
  }));

Deno.test("more answers than there are places for are 400: waiting would not help", () =>
  serving({}, async ({ url, engine }) => {
    const n = await errorOf(await post(url + path, { messages: question, n: 101 }), 400);
    assert.equal(n.param, "n");
    assert.match(n.message, /101 .* 100/);
    const many = { prompt: Array(60).fill("Hi"), n: 2, max_tokens: 1 };
    assert.equal((await errorOf(await post(`${url}/v1/completions`, many), 400)).param, "n");
    assert.equal(engine.requests.length, 0);
    await stillServes(url);
  }));

Deno.test("health and metrics", () =>
  serving({}, async ({ url }) => {
    assert.deepEqual(await (await fetch(`${url}/health`)).json(), { status: "ok" });
    await stillServes(url);
    await (await fetch(`${url}/nowhere`)).body!.cancel();
    const response = await fetch(`${url}/metrics`);
    assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    assert.match(text, /^ftl_requests_total\{route="\/v1\/chat\/completions",status="200"\} 1$/m);
    assert.match(text, /^ftl_requests_total\{route="none",status="404"\} 1$/m);
    assert.match(text, /^ftl_answer_tokens_total [1-9]/m);
    assert.match(text, /^ftl_first_text_seconds_count 1$/m);
    for (const line of text.trimEnd().split("\n")) {
      assert.match(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{.*\})? [\d.e+-]+)$/);
    }
  }));
