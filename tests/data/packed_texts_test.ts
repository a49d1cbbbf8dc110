/** Texts come back as they were, in any order, however many there are. */
import assert from "node:assert/strict";
import { makePackedTexts } from "../../lib/data/packed_texts.ts";

Deno.test("texts are found by their number, in blocks held as they are and packed ones", () => {
  const texts = makePackedTexts();
  // 64 MB, twice of what is held unpacked; some empty, some longer than a block, of signs of one to four bytes.
  const text = (i: number) => i % 7 === 0 ? "" : `${i} aé日🙂\n`.repeat(i % 1000 === 1 ? 3000 : 40);
  const count = 110_000;
  for (let i = 0; i < count; i++) texts.add(text(i));
  assert.equal(texts.length, count);
  for (let i = 0; i < count; i += 11) assert.equal(texts.at(i), text(i));
  for (let i = 0, at = 1; i < 3000; i++, at = at * 7919 % count) assert.equal(texts.at(at), text(at));
  for (const none of [-1, count, 0.5, NaN]) assert.equal(texts.at(none), undefined);
});

Deno.test("a text that is added after others were looked up is found", () => {
  const texts = makePackedTexts();
  for (let i = 0; i < 100; i++) {
    texts.add(`text ${i}`);
    assert.equal(texts.at(i), `text ${i}`);
    assert.equal(texts.at(i >> 1), `text ${i >> 1}`);
  }
});
