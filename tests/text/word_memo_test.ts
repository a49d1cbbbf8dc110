import assert from "node:assert/strict";
import { rememberWords, spacesOf, spacesUnjoined } from "../../lib/text/word_memo.ts";

const unitsOf = (text: string) => Uint16Array.from([...text, "\0"], (character) => character.charCodeAt(0));

Deno.test("rememberWords() asks for a word once, for a long one each time, and gives what it was given", () => {
  const asked: string[] = [], long = "x".repeat(65);
  const add = rememberWords((word) => (asked.push(word), [word.length, 7]), (units, at) => units[at] === 0x20);
  const ids: number[] = [3];
  add(`wax wax and ${long} wax ${long}`, ids);
  assert.deepEqual(asked, ["wax", " wax", " and", ` ${long}`, ` ${long}`]);
  assert.deepEqual(ids, [3, 3, 7, 4, 7, 4, 7, 66, 7, 4, 7, 66, 7]);
});

Deno.test("rememberWords() begins anew when its memory is full, and stays right", () => {
  const add = rememberWords((word) => [Number(word)], (units, at) => units[at] === 0x20);
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 200_000; i++) {
      const ids: number[] = [];
      add(`${i}`, ids);
      if (ids.length !== 1 || ids[0] !== i) assert.fail(`${i}: ${ids}`);
    }
  }
});

Deno.test("spacesOf() takes a rule that cuts at spaces, and none that does not", () => {
  const cuts = spacesOf((text) => text.match(/ ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s/gu) ?? [])!;
  const text = "Ab, c 7:  d\nE\n\nf .\n!", at = [...text].flatMap((_, i) => i > 0 && cuts(unitsOf(text), i) ? [i] : []);
  assert.deepEqual(at.map((i) => text.slice(i - 1, i + 1)), ["b,", ", ", "c ", "7:", "\nE", "f "]);
  assert.equal(spacesOf((text) => [text]), null);
  assert.equal(spacesOf((text) => text.split(/(?<=New )|(?= )/)), null);
});

Deno.test("spacesUnjoined() cuts before spaces that no merge joins to what stands before them", () => {
  const pieces = ["▁", "a", "b", "x,", "▁y"], cuts = spacesUnjoined(Int32Array.of(0, 0, 9, 1, 2, 9, 3, 4, 9), pieces);
  const at = (text: string) => [...text].flatMap((_, i) => i > 0 && cuts(unitsOf(text), i) ? [i] : []);
  assert.deepEqual(at("▁ab▁▁c,▁y▁d"), [3, 9]);
});
