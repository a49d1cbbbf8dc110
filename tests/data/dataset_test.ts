/** Files to examples: several files as one data set, near duplicates, packing, compact storage. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { cleanedRows, loadDataset } from "../../lib/data/dataset.ts";
import { countTokens, type Example, makeExampleStore, packExamples, selectExamples } from "../../lib/data/examples.ts";
import { makeNearDuplicates } from "../../lib/data/near_duplicates.ts";
import { UserError } from "../../lib/errors.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { randomFloats } from "../helpers/random.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

function filesOf(contents: Record<string, string>) {
  const open = Object.entries(contents).map(([name, text]) => () => bytesSource(new TextEncoder().encode(text), name));
  return { name: Object.keys(contents).join(", "), open };
}

function load(contents: Record<string, string>, { maxLength = 2048 } = {}) {
  const tokenizer = smollm2Tokenizer();
  const rendering = () => ({ tokenizer, maxLength });
  return loadDataset({ files: filesOf(contents), format: "auto", columns: null, rendering });
}

const row = (question: string, answer: string) => JSON.stringify({ question, answer }) + "\n";
const long =
  "Batik is a way of decorating cloth with wax and dye that people in Java have handed down for many centuries";

Deno.test("loadDataset reads several files as one, in order, and finds what they have twice", async () => {
  const { examples, places, readAs, notes, similar, format } = await load({
    "a.jsonl": row("Q1", "A1") + row("Q2", long),
    "b.csv": `question,answer\nQ1,A1\nQ3,${long} or more.\nQ4,A4\n`,
  });
  assert.equal(format, "alpaca");
  assert.deepEqual(places, ["a.jsonl:1", "a.jsonl:2", "b.csv:3", "b.csv:4"]);
  assert.equal(examples.length, 4);
  assert.deepEqual(readAs, ["questions with answers (question, answer)"]);
  assert.deepEqual([...similar], [[2, 1]]);
  assert.deepEqual(notes.map(({ place, what, action }) => `${place}: ${what}; ${action}`), [
    "b.csv:2: the same as a.jsonl:1; dropped",
    "b.csv:3: nearly the same as a.jsonl:2; kept",
  ]);
});

Deno.test("loadDataset keeps the place of a row that is too long, and its length", async () => {
  const { examples, lengths, notes } = await load({ "a.jsonl": row("Q1", "A1") + row("Q2", long.repeat(9)) }, {
    maxLength: 100,
  });
  assert.deepEqual([examples.length, examples.lengthAt(1)], [2, 0]);
  assert(examples.lengthAt(0) > 0 && lengths[1] > 100);
  assert.match(notes[0].what, /^\d+ tokens, max_length is 100$/);
});

const refused: [name: string, contents: Record<string, string>, message: RegExp][] = [
  [
    "rows without answers",
    { "a.jsonl": row("Q", " ") },
    /^a\.jsonl: none of the 1 rows can be trained on; the first, a\.jsonl:1: no answer$/,
  ],
  [
    "a second file of another form",
    { "a.jsonl": row("Q", "A"), "b.txt": "Text." },
    /^b\.txt:1: a text row, expected alpaca rows$/,
  ],
  ["a second file without rows", { "a.jsonl": row("Q", "A"), "b.jsonl": "" }, /^b\.jsonl: no rows$/],
];
for (const [name, contents, message] of refused) {
  Deno.test(`loadDataset refuses ${name} with one clear line`, async () => {
    await assert.rejects(() => load(contents), (error: unknown) => {
      assert(error instanceof UserError && error.hint);
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("loadDataset refuses rows that are all too long", async () => {
  await assert.rejects(() => load({ "a.jsonl": row("Q", "A") }, { maxLength: 8 }), /max_length is 8$/);
});

Deno.test("cleanedRows closes a file when its reader stops early", async () => {
  let closed = 0;
  const source = {
    ...bytesSource(new TextEncoder().encode(row("Q", "A") + row("R", "B")), "a.jsonl"),
    close: () => closed++,
  };
  for await (const _ of cleanedRows({ name: "a", open: [() => source] }, { notes: [] })) break;
  assert.equal(closed, 1);
});

Deno.test("near duplicates are found whatever their punctuation, and other rows are not", () => {
  const near = makeNearDuplicates();
  assert.equal(near(long), undefined);
  assert.equal(
    near("A kilt is a garment of the Scottish Highlands that is pleated at the back and worn at the waist"),
    undefined,
  );
  assert.equal(near(`${long.toUpperCase()}!!!`), 0);
  assert.equal(near(`${long}, they say`), 0);
  assert.equal(near("A kilt"), undefined);
  assert.equal(near("A kilt"), undefined, "two words say too little");
  const chinese = "蜡染是一种用蜡和染料装饰布料的方法，几个世纪以来一直在爪哇流传，人们每天都穿着它参加婚礼和仪式。";
  assert.equal(near(chinese), undefined);
  assert.equal(near(chinese.replace("。", "！")), 6);
});

Deno.test("near duplicates of 3,000 random pairs: nearly all with one word in forty changed, none of the unrelated", () => {
  const random = randomFloats(1500 * 80);
  const near = makeNearDuplicates();
  let found = 0, wrong = 0;
  for (let pair = 0; pair < 1500; pair++) {
    const words = Array.from({ length: 80 }, (_, i) => `w${Math.floor(2500 * (random[pair * 80 + i] + 1))}`);
    if (near(words.join(" ")) !== undefined) wrong++;
    words[20] = "x", words[60] = "y";
    // 72 of 84 runs are shared: 0.86, estimated by 32 values with a deviation of 0.06.
    if (near(words.join(" ")) === 2 * pair) found++;
  }
  assert.equal(wrong, 0);
  assert(found > 1000, `${found}`);
});

const examples = fc.array(fc.array(fc.nat(1000), { maxLength: 30 }), { minLength: 1, maxLength: 20 }).map((rows) =>
  rows.map((tokens): Example => ({
    tokens: Int32Array.from(tokens),
    targets: Uint8Array.from(tokens, (token, i) => i > 0 ? token % 2 : 0),
  }))
);

Deno.test("a store gives back what was added, and sums it up", () => {
  fc.assert(
    fc.property(examples, (list) => {
      const store = makeExampleStore();
      for (const example of list) store.add(example);
      assert.equal(store.length, list.length);
      list.forEach((example, i) => assert.deepEqual(store.at(i), example));
      const last = selectExamples(store, [list.length - 1]);
      assert.deepEqual(last.at(0), list.at(-1));
      assert.deepEqual(countTokens(store), {
        tokens: list.reduce((sum, { tokens }) => sum + tokens.length, 0),
        trained: list.reduce((sum, { targets }) => sum + targets.filter((target) => target === 1).length, 0),
      });
    }),
    { seed: 1 },
  );
});

Deno.test("a store holds rows longer than one of its arrays, and more than its index began with", () => {
  const store = makeExampleStore();
  const huge = { tokens: new Int32Array(3_000_000).fill(7), targets: new Uint8Array(3_000_000).fill(1) };
  store.add(huge);
  for (let i = 0; i < 5000; i++) store.add({ tokens: Int32Array.of(i), targets: Uint8Array.of(0) });
  assert.equal(store.at(0).tokens[2_999_999], 7);
  assert.equal(store.at(5000).tokens[0], 4999);
});

Deno.test("packing joins documents in order and loses at most one token", () => {
  fc.assert(
    fc.property(examples, fc.integer({ min: 2, max: 40 }), (list, length) => {
      const store = makeExampleStore();
      for (const example of list) store.add(example);
      const packed = packExamples(store, length);
      const rows = Array.from({ length: packed.length }, (_, i) => packed.at(i));
      const all = list.flatMap(({ tokens }) => [...tokens]);
      const kept = rows.flatMap(({ tokens }) => [...tokens]);
      assert.deepEqual(kept, all.slice(0, kept.length));
      assert(all.length - kept.length <= 1);
      rows.forEach(({ tokens, targets }, i) => {
        assert.equal(tokens.length, packed.lengthAt(i));
        assert.deepEqual([...targets], [...tokens].map((_, j) => (j === 0 ? 0 : 1)));
        assert(i === rows.length - 1 || tokens.length === length);
      });
    }),
    { seed: 1 },
  );
});
