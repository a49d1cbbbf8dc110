/** That the fast way into a tokenizer.json finds what JSON.parse() finds, or leaves it to it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { mergeIds } from "../../lib/text/bpe_merges.ts";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { readTokenizerJson } from "../../lib/text/tokenizer_json.ts";
import { tinyBpeMetadata, tinySpmMetadata } from "../helpers/tokenizers.ts";

type Json = Record<string, unknown>;
interface Model {
  vocab: Record<string, number>;
  merges: (string | [string, string])[];
}

const bpe = (model: Partial<Model> & Json, others: Json = {}) => ({
  added_tokens: [{ id: 9, content: '"vocab": {' }],
  ...others,
  model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"], ...model },
});

/** What the reader finds, against what JSON.parse() finds. */
function checkRead(text: string): void {
  const { json, vocabulary, whole } = readTokenizerJson(text), expected = JSON.parse(text);
  assert.ok(vocabulary, `left to JSON.parse(): ${text}`);
  const { vocab, merges } = expected.model as Model, pieces = new Map(Object.entries(vocab));
  assert.deepEqual(new Map([...vocabulary.ids].sort()), new Map([...pieces].sort()));
  assert.deepEqual(vocabulary.merges, mergeIds(merges, pieces));
  assert.deepEqual(json, { ...expected, model: { ...expected.model, vocab: 0, merges: 0 } });
  assert.deepEqual(whole(), expected);
}

const read: Record<string, string> = {
  "as it is": JSON.stringify(bpe({})),
  "spread over lines": JSON.stringify(bpe({ merges: [["a", "b"]] }), null, 2).replaceAll("\n", "\r\n"),
  "merges before pieces": JSON.stringify({ model: { merges: ["a b"], vocab: { a: 0, b: 1, ab: 2 }, type: "BPE" } }),
  "no merges": JSON.stringify(bpe({ merges: [] })),
  "pieces that have to be spelt": JSON.stringify(
    bpe({
      vocab: { '"': 0, "\\": 1, "\n": 2, '"\\': 3, '\\"vocab': 4, "\u0000": 5, "\ud83d": 6, "▁😀": 7, "12": 8, "": 9 },
      merges: [['"', "\\"]],
    }),
  ),
  "escapes for what needs none": String
    .raw`{"model":{"type":"BPE","vocab":{"\u0061":0,"\/":1,"a\/":2},"merges":["a \/"]}}`,
  "a merge with more than one space": JSON.stringify(bpe({ merges: ["a b c"] })),
  "a piece named __proto__":
    `{"model":{"type":"BPE","vocab":{"__proto":0,"__":1,"__proto__":2},"merges":["__proto __"]}}`,
  "long pieces": JSON.stringify(bpe({ vocab: { ["x".repeat(12)]: 0, ["▁y".repeat(600)]: 1, a: 2, b: 3, ab: 4 } })),
};
for (const [name, text] of Object.entries(read)) {
  Deno.test(`readTokenizerJson() reads ${name}`, () => checkRead(text));
}

Deno.test("readTokenizerJson() reads what JSON.stringify() writes of any pieces", () => {
  const part = fc.string({ unit: "binary", minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(fc.tuple(part, part), { maxLength: 20 }), fc.boolean(), (pairs, pretty) => {
      const vocab: Record<string, number> = Object.create(null);
      for (const piece of pairs.flatMap(([left, right]) => [left, right, left + right])) {
        vocab[piece] ??= Object.keys(vocab).length;
      }
      checkRead(JSON.stringify(bpe({ vocab: { ...vocab, z: 1000 }, merges: pairs }), null, pretty ? 1 : 0));
    }),
    { seed: 1, numRuns: 100 },
  );
});

const left: Record<string, string> = {
  "another kind of model": JSON.stringify(bpe({ type: "WordPiece" })),
  "no model": '{"vocab":{"a":0},"merges":[]}',
  "a model with pieces of another kind": JSON.stringify(bpe({ vocab: [["a", 0]] as unknown as Model["vocab"] })),
  "pieces elsewhere first": JSON.stringify({ vocab: { a: 0 }, ...bpe({}) }),
  "two models": `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"model":${JSON.stringify(bpe({}).model)}}`,
  "a piece listed twice": '{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}',
  "no pieces": JSON.stringify(bpe({ vocab: {}, merges: [] })),
  "a negative id": JSON.stringify(bpe({ vocab: { a: -1 }, merges: [] })),
  "half an id": JSON.stringify(bpe({ vocab: { a: 0.5 }, merges: [] })),
  "an id beyond any vocabulary": JSON.stringify(bpe({ vocab: { a: 1 << 24 }, merges: [] })),
  "an id that is text": JSON.stringify(bpe({ vocab: { a: "0" as unknown as number }, merges: [] })),
  "a merge of a piece that is none": JSON.stringify(bpe({ merges: ["a c"] })),
  "a merge of one": JSON.stringify(bpe({ merges: ["a"] })),
  "a merge of three": JSON.stringify(bpe({ merges: [["a", "b", "c"]] as unknown as Model["merges"] })),
  "a piece too long": JSON.stringify(bpe({ vocab: { a: 0, b: 1, ab: 2, ["\n".repeat(20_000)]: 3 } })),
};
for (const [name, text] of Object.entries(left)) {
  Deno.test(`readTokenizerJson() leaves ${name} to JSON.parse()`, () => {
    const { json, vocabulary } = readTokenizerJson(text);
    assert.equal(vocabulary, null);
    assert.deepEqual(json, JSON.parse(text));
  });
}

Deno.test("readTokenizerJson() refuses what is not JSON, wherever it breaks", () => {
  const text = JSON.stringify(bpe({ merges: [["a", "b"]] }));
  for (let end = 0; end < text.length; end++) assert.throws(() => readTokenizerJson(text.slice(0, end)), SyntaxError);
  for (const id of ["00", "01", "0,", "1 2", ""]) {
    assert.throws(() => readTokenizerJson(text.replace('"a":0', `"a":${id}`)), SyntaxError, id);
  }
  assert.throws(() => readTokenizerJson(text.replace('["a","b"]', '["a","b"],')), SyntaxError);
  assert.throws(() => readTokenizerJson(text.replace('"ab"', '"a\\qb"')), SyntaxError);
  assert.throws(() => readTokenizerJson(text.replace('"ab"', '"a\nb"')), SyntaxError);
  assert.throws(() => readTokenizerJson("[]"), /expected a JSON object/);
});

for (
  const [kind, metadata] of Object.entries({ "byte-level": tinyBpeMetadata({}), SentencePiece: tinySpmMetadata() })
) {
  Deno.test(`rebuildTokenizer()'s tables of a ${kind} vocabulary are those of its tokenizer.json`, () => {
    const { json, vocabulary, whole } = rebuildTokenizer(metadata, "test"), text = JSON.stringify(whole());
    const parts = readTokenizerJson(text);
    assert.deepEqual(vocabulary?.merges, parts.vocabulary?.merges);
    assert.deepEqual(new Map([...vocabulary!.ids].sort()), new Map([...parts.vocabulary!.ids].sort()));
    const { vocab: _, merges: __, ...model } = JSON.parse(text).model;
    assert.deepEqual(JSON.parse(JSON.stringify(json)), { ...JSON.parse(text), model });
  });
}
