/** Who may ask: keys, hosts, origins, preflights, and what the page may do. */
import assert from "node:assert/strict";
import { post, question, serving } from "../helpers/http_server.ts";

const path = "/v1/chat/completions";

Deno.test("with a key, everything but the page and /health needs it", () =>
  serving({ apiKey: "sk-right", page: "<p>Hi</p>" }, async ({ url, engine }) => {
    const status = async (headers: Record<string, string>) => {
      const response = await post(url + path, { messages: question }, headers);
      const body = await response.json();
      return [response.status, body.error?.type, body.error?.code];
    };
    const refused = [401, "authentication_error", "invalid_api_key"];
    const wrong: Record<string, string>[] = [
      {},
      { authorization: "Bearer sk-wrong" },
      { authorization: "Bearer sk-right2" },
      { authorization: "sk-right" },
      { authorization: "Basic sk-right" },
      { "x-api-key": "" },
    ];
    for (const headers of wrong) assert.deepEqual(await status(headers), refused);
    assert.equal(engine.requests.length, 0);
    for (const headers of [{ authorization: "Bearer sk-right" }, { authorization: "bearer  sk-right" }]) {
      assert.equal((await status(headers))[0], 200);
    }
    assert.equal((await status({ "x-api-key": "sk-right" }))[0], 200);
    for (const each of ["/v1/models", "/models", "/metrics", "/ftl/info", "/v1/nothing", "//v1/models", "/api/tags"]) {
      const response = await fetch(url + each);
      assert.equal(response.status, 401, each);
      assert.equal(response.headers.get("www-authenticate"), "Bearer");
      await response.body!.cancel();
    }
    for (const each of ["/", "/health", "/v1/health"]) {
      const response = await fetch(url + each);
      assert.equal(response.status, 200, each);
      await response.body!.cancel();
    }
  }));

/** A request with headers that fetch would not send. */
async function raw(url: string, headers: Record<string, string>, method = "GET /v1/models"): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
  const lines = [`${method} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  await connection.write(new TextEncoder().encode([...lines, "Connection: close", "", ""].join("\r\n")));
  const text = await new Response(connection.readable).text();
  return text;
}
const statusOf = (response: string) => Number(response.split(" ")[1]);

Deno.test("without a key the server answers to its own names and to addresses only", () =>
  serving({ hosts: ["models.example"] }, async ({ url }) => {
    const { port } = new URL(url);
    for (
      const host of ["localhost", `localhost:${port}`, "127.0.0.1", "[::1]:80", "192.168.1.5:8080", "Models.Example:80"]
    ) assert.equal(statusOf(await raw(url, { Host: host })), 200, host);
    for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "evillocalhost"]) {
      assert.equal(statusOf(await raw(url, { Host: host })), 403, host);
    }
    assert.equal(statusOf(await raw(url, { Host: "localhost" }, "GET http://evil.example/v1/models")), 200);
  }));

Deno.test("pages of this machine may ask, others only where they are configured", () =>
  serving({ corsOrigins: ["https://app.example"] }, async ({ url }) => {
    const { host } = new URL(url);
    const ask = async (origin: string) => {
      const response = await raw(url, { Host: host, Origin: origin });
      return [statusOf(response), /access-control-allow-origin: (.*)\r/i.exec(response)?.[1]];
    };
    for (const origin of [`http://${host}`, "http://localhost:3000", "https://app.example", "http://[::1]:5173"]) {
      assert.deepEqual(await ask(origin), [200, origin]);
    }
    for (
      const origin of ["https://evil.example", "null", "https://app.example.evil", "http://localhost.evil.example"]
    ) {
      assert.deepEqual(await ask(origin), [403, undefined], origin);
    }
  }));

Deno.test("a page that may ask can read that its key is wrong", () =>
  serving({ apiKey: "k" }, async ({ url }) => {
    const answer = await raw(url, { Host: "localhost", Origin: "http://localhost:3000" });
    assert.equal(statusOf(answer), 401);
    assert.match(answer, /access-control-allow-origin: http:\/\/localhost:3000\r/i);
  }));

Deno.test("a preflight allows the headers that OpenAI's client sends, and refuses a foreign page", () =>
  serving({ apiKey: "k" }, async ({ url }) => {
    const { host } = new URL(url);
    const asked = "authorization, content-type, x-stainless-lang, x-stainless-retry-count, x-stainless-os";
    const headers = {
      Host: host,
      Origin: "http://localhost:3000",
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": asked,
    };
    const answer = await raw(url, headers, `OPTIONS ${path}`);
    assert.equal(statusOf(answer), 204);
    assert.match(answer, new RegExp(`access-control-allow-headers: ${asked}\\r`, "i"));
    assert.match(answer, /access-control-allow-methods: POST\r/i);
    assert.equal(statusOf(await raw(url, { ...headers, Origin: "https://evil.example" }, `OPTIONS ${path}`)), 403);
  }));

Deno.test("the page is sent as it is, and only its own script and style may run", () => {
  const page = "<!doctype html><style>p{color:red}</style><p>Hi</p><script>\nlet a = 1;\n</script>";
  return serving({ page, systemPrompt: "Be kind." }, async ({ url }) => {
    const response = await fetch(url);
    assert.equal(await response.text(), page);
    const policy = response.headers.get("content-security-policy")!;
    assert.match(policy, /default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'/);
    assert.match(policy, /connect-src 'self'/);
    assert.ok(!policy.includes("unsafe"));
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    const info = await (await fetch(`${url}/ftl/info`)).json();
    assert.deepEqual(info, {
      version: "0.0.0",
      models: [{ id: "base", aliases: ["smollm2"], parent: null }, { id: "base-tuned", aliases: [], parent: "base" }],
      defaultModel: "base",
      contextLength: 2048,
      defaultSystem: "Be kind.",
      needsKey: false,
    });
  });
});
