/** Requests that no server should be harmed by, each with the statuses that are right answers to it. */

export interface BadRequest {
  name: string;
  /** Sends it and returns the status; 0: the server has cut the connection. */
  send(url: string): Promise<number>;
  right: number[];
}

const chat = "/v1/chat/completions";
const json = { "content-type": "application/json" };
const messages = [{ role: "user", content: "Hi" }];

async function sent(url: string, init: RequestInit): Promise<number> {
  try {
    const response = await fetch(url, init);
    await response.body?.cancel();
    return response.status;
  } catch {
    return 0;
  }
}

function posting(name: string, body: BodyInit | object, right: number[], path = chat): BadRequest {
  const whole = typeof body === "string" || body instanceof Uint8Array ? body as BodyInit : JSON.stringify(body);
  return { name, right, send: (url) => sent(url + path, { method: "POST", headers: json, body: whole }) };
}

/** Bytes on a connection, piece by piece; the status of what comes back within `wait` milliseconds, else `otherwise`. */
function raw(name: string, pieces: string[], options: { pause: number; wait: number; right: number[] }): BadRequest {
  return {
    name,
    right: options.right,
    async send(url) {
      const { hostname, port } = new URL(url), encoder = new TextEncoder();
      const connection = await Deno.connect({ hostname, port: Number(port) });
      try {
        for (const piece of pieces) {
          await connection.write(encoder.encode(piece));
          await pause(options.pause);
        }
        if (options.wait === 0) return 0;
        const buffer = new Uint8Array(1000);
        const read = await Promise.race([connection.read(buffer), pause(options.wait)]);
        const head = new TextDecoder().decode(buffer.subarray(0, read ?? 0));
        return Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1] ?? 0);
      } catch {
        return 0;
      } finally {
        connection.close();
      }
    },
  };
}

const pause = (ms: number) => new Promise<null>((resolve) => setTimeout(resolve, ms, null));

const body = JSON.stringify({ messages, max_tokens: 2, temperature: 0 });
const head = (length: number) =>
  `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;

/** `context`: tokens that the server takes at most. */
export function badRequests(context: number): BadRequest[] {
  const long = [{ role: "user", content: "word ".repeat(context * 2) }];
  const many = Array.from({ length: 10_000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "a" }));
  return [
    posting("no JSON", "{", [400]),
    posting("no body", "", [400]),
    posting("deep JSON", "[".repeat(100_000), [400]),
    posting("no UTF-8", Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), [400]),
    posting("no messages", {}, [400]),
    posting("wrong types", { messages: "Hi", temperature: "hot", n: {} }, [400]),
    posting("a number out of its range", { messages, temperature: 9 }, [400]),
    posting("a token that does not exist", { prompt: [1e9], max_tokens: 1 }, [400], "/v1/completions"),
    posting("an unknown model", { messages, model: "smollm2-135x", max_tokens: 1 }, [200, 404, 429]),
    posting("a prompt that is too long", { messages: long }, [400]),
    posting("10,000 messages", { messages: many }, [400]),
    posting("a schema that is none", {
      messages,
      max_tokens: 1,
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "nothing" } } },
    }, [400]),
    posting("a tool that is not there", { messages, tool_choice: { type: "function", function: { name: "f" } } }, [
      400,
    ]),
    posting("an empty list of inputs", { input: [] }, [400], "/v1/embeddings"),
    posting("a huge body", `{"messages": "${"x".repeat(17 << 20)}"}`, [413, 0]),
    { name: "a wrong method", right: [405], send: (url) => sent(url + chat, { method: "PUT", body: "{}" }) },
    { name: "no such path", right: [404], send: (url) => sent(`${url}/v1/../../etc/passwd`, {}) },
    {
      name: "another type",
      right: [415],
      send: (url) => sent(url + chat, { method: "POST", body, headers: { "content-type": "text/xml" } }),
    },
    {
      name: "a page from elsewhere",
      right: [403],
      send: (url) => sent(url + chat, { method: "POST", body, headers: { ...json, origin: "https://evil.example" } }),
    },
    raw("no HTTP", ["\u0000\u0001garbage\r\n\r\n"], { pause: 10, wait: 2000, right: [400, 0] }),
    raw("a foreign host", [`GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n`], {
      ...{ pause: 0, wait: 5000, right: [403] },
    }),
    raw("a slow sender", [head(body.length), ...body.match(/.{1,16}/g)!], {
      ...{ pause: 150, wait: 120_000, right: [200, 429] },
    }),
    raw("a sender that leaves", [head(body.length), body.slice(0, 9)], { pause: 100, wait: 0, right: [0] }),
    raw("a sender that stops", [head(body.length), body.slice(0, 9)], { pause: 0, wait: 40_000, right: [408] }),
  ];
}
