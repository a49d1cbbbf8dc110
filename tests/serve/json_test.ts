/** Answers that must be JSON: of any object, of a schema, whatever the model would say; schemas that cannot be used. */
import assert from "node:assert/strict";
import OpenAI from "npm:openai@7.57.0";
import { zodResponseFormat } from "npm:openai@7.57.0/helpers/zod";
import { ChatOpenAI } from "npm:@langchain/openai@1.6.0";
import { z } from "zod";
import { createGrammars } from "../../lib/serve/grammars.ts";
import { post, question, serving } from "../helpers/http_server.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

const path = "/v1/chat/completions";
const person = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    age: { type: "integer" },
    tags: { type: "array", items: { enum: ["a", "b"] }, minItems: 1, maxItems: 3 },
    home: { anyOf: [{ $ref: "#/$defs/place" }, { type: "null" }] },
  },
  required: ["name", "age", "tags", "home"],
  $defs: {
    place: { type: "object", properties: { city: { type: "string", pattern: "^[A-Z][a-z]+$" } }, required: ["city"] },
  },
};
const check = z.strictObject({
  name: z.string().max(20),
  age: z.int(),
  tags: z.array(z.enum(["a", "b"])).min(1).max(3),
  home: z.strictObject({ city: z.string().regex(/^[A-Z][a-z]+$/) }).nullable(),
});

const formatOf = (schema: object, strict = true) => ({
  type: "json_schema",
  json_schema: { name: "x", schema, strict },
});

Deno.test("json_schema: what the model wants to say is bent to the schema", async (t) => {
  const answers = [
    '{"name": "Ann", "age": 5, "tags": ["a"], "home": {"city": "Paris"}}',
    "Sure! Here is your JSON: {}",
    '{"age": "five", "extra": true}',
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
  ];
  for (const text of answers) {
    await t.step(JSON.stringify(text), () =>
      serving({ script: { text }, contextLength: 4000 }, async ({ url }) => {
        let whole = 0;
        for (let seed = 1; seed <= 4; seed++) {
          const body = { messages: question, response_format: formatOf(person), seed };
          const response = await post(url + path, body);
          assert.equal(response.status, 200, await response.clone().text());
          const { choices: [{ message, finish_reason }] } = await response.json();
          if (finish_reason === "length") continue;
          whole++;
          check.parse(JSON.parse(message.content));
        }
        assert.ok(whole > 0);
      }));
  }
});

Deno.test("json_object: an object, and white space does not go on without end", () =>
  serving({ script: { text: '{"a":' + " \n".repeat(500) }, contextLength: 600 }, async ({ url }) => {
    const body = { messages: question, response_format: { type: "json_object" }, seed: 3 };
    const { choices: [{ message }] } = await (await post(url + path, body)).json();
    assert.match(message.content, /^\{"a":\s{1,40}\S/);
    const plain = await serving({ script: { text: '{"a": [1, {"b": null}]} and talk' } }, async ({ url }) => {
      const { choices: [{ message }] } = await (await post(url + path, body)).json();
      assert.deepEqual(JSON.parse(message.content), { a: [1, { b: null }] });
    });
    return plain;
  }));

Deno.test("json_schema: streams are the same JSON in pieces; n answers have a grammar each", () =>
  serving({ script: { text: '{"name": "Ünal", "age": 5, "tags": ["b", "a"], "home": null}' } }, async ({ url }) => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
    const asked = {
      model: "base",
      messages: [{ role: "user" as const, content: "Hi" }],
      response_format: zodResponseFormat(z.object({ name: z.string(), age: z.int() }), "person"),
      n: 2,
    };
    const parsed = await client.chat.completions.parse(asked);
    const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
    for (const { message } of [...parsed.choices, ...streamed.choices]) {
      assert.deepEqual(message.parsed, { name: "Ünal", age: 5 });
    }
  }));

Deno.test("langchain: structured output by schema", () =>
  serving({ script: { text: "Of course!" }, contextLength: 4000 }, async ({ url }) => {
    const model = new ChatOpenAI({
      model: "base",
      apiKey: "none",
      maxRetries: 0,
      configuration: { baseURL: `${url}/v1` },
    });
    const shape = z.object({ mood: z.enum(["good", "bad"]), count: z.int().min(1).max(9) });
    for (const method of ["jsonSchema", "functionCalling"] as const) {
      const result = await model.withStructuredOutput(shape, { method, name: "mood" }).invoke("Hi");
      shape.parse(result);
    }
  }));

Deno.test("a schema that cannot be used is 400 with its reason, and the next one is", () =>
  serving({ script: { text: "x" } }, async ({ url }) => {
    const nested = (depth: number): object =>
      depth === 0 ? { type: "string" } : { type: "array", items: nested(depth - 1) };
    const cases: [object, RegExp][] = [
      [{ type: "objekt" }, /Unsupported type "objekt"/],
      [{ $ref: "#/nowhere" }, /Cannot find field nowhere/],
      [{ type: "string", pattern: "(?<=a)b" }, /Lookbehind/],
      [{ type: "string", pattern: "[" }, /Unclosed/],
      [nested(40), /levels deep/],
      [{ type: "array", items: { type: "array", items: {}, maxItems: 1000 }, maxItems: 1000 }, /repeats parts/],
      [{ type: "string", pattern: "((a{999}){999}){999}" }, /repeats parts/],
      [{ enum: ["x".repeat(70_000)] }, /characters/],
    ];
    for (const [schema, message] of cases) {
      const response = await post(url + path, { messages: question, response_format: formatOf(schema) });
      const { error } = await response.json();
      assert.deepEqual([response.status, error.param, error.code], [400, "response_format", "invalid_json_schema"]);
      assert.match(error.message, message);
      const next = await post(url + path, { messages: question, response_format: formatOf({ enum: ["x", "y"] }) });
      assert.match(JSON.parse((await next.json()).choices[0].message.content), /^[xy]$/);
    }
  }));

Deno.test("what stands behind a vocabulary in a model's logits is never allowed", async () => {
  const tokenizer = { ...smollm2Tokenizer(), vocabSize: 49_000 }, grammars = createGrammars(tokenizer);
  const constraint = await grammars.constraint({ kind: "json", schema: { type: "string" } }, "x");
  constraint.accept(tokenizer.encode('"')[0]);
  await constraint.ready();
  const mask = constraint.allowed()!;
  const allowed = Array.from({ length: mask.length * 32 }, (_, id) => id).filter((id) =>
    mask[id >> 5] >>> (id & 31) & 1
  );
  assert.ok(allowed.length > 10_000 && allowed.at(-1)! < 49_000, String(allowed.at(-1)));
  grammars.close();
});

Deno.test("a constraint forbids, accepts, ends, and survives being used after its end", async () => {
  const tokenizer = smollm2Tokenizer(), grammars = createGrammars(tokenizer);
  const constraint = await grammars.constraint({ kind: "json", schema: { enum: ["é😀"] } }, "x");
  const allows = (id: number) => {
    const mask = constraint.allowed()!;
    return (mask[id >> 5] >>> (id & 31) & 1) === 1;
  };
  const [end] = tokenizer.eosIds;
  for (const id of tokenizer.encode('"é😀"')) {
    assert.ok(allows(id), tokenizer.tokenText(id));
    assert.ok(!allows(end) && !constraint.done());
    assert.ok(!allows(tokenizer.idOf("<|im_start|>")!));
    constraint.accept(id);
    await constraint.ready();
  }
  assert.ok(allows(end) && constraint.done());
  assert.throws(() => constraint.accept(tokenizer.encode("x")[0]), /not in the grammar/);
  constraint.accept(end);
  await constraint.ready();
  assert.equal(constraint.allowed(), null);
  assert.ok(constraint.done());
  constraint.dispose();
  constraint.dispose();
  assert.equal(constraint.allowed(), null);
  grammars.close();
});
