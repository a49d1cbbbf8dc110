import assert from "node:assert/strict";
import fc from "fast-check";
import { makeMarkCutter } from "../../lib/text/marks.ts";

Deno.test("makeMarkCutter() cuts at the longest mark that begins first, and loses nothing", () => {
  const cut = makeMarkCutter(["<a>", "<a><b>", "<", "\n\n", "", "^]"]);
  assert.deepEqual(cut("x<a><b>y<a><\n\n\n^]^"), ["x", "<a><b>", "y", "<a>", "<", "\n\n", "\n", "^]", "^"]);
  assert.deepEqual(cut(""), []);
  assert.deepEqual(makeMarkCutter([])("a<b"), ["a<b"]);
});

Deno.test("makeMarkCutter() of any marks gives the parts of the text in order", () => {
  const texts = fc.string({ unit: fc.constantFrom(..."ab<>\n\ud83d\ude00]"), maxLength: 12 });
  fc.assert(
    fc.property(fc.array(texts, { maxLength: 5 }), texts, (marks, text) => {
      const parts = makeMarkCutter(marks)(text);
      assert.equal(parts.join(""), text);
      assert.ok(!parts.includes(""));
      const expected: string[] = [];
      for (let at = 0, start = 0; at <= text.length;) {
        const mark = marks.filter((mark) =>
          mark !== "" && text.startsWith(mark, at)
        ).sort((a, b) => b.length - a.length)[0];
        if (mark === undefined && at < text.length) {
          at++;
          continue;
        }
        if (at > start) expected.push(text.slice(start, at));
        if (mark === undefined) break;
        expected.push(mark);
        start = at += mark.length;
      }
      assert.deepEqual(parts, expected);
    }),
    { seed: 1, numRuns: 1000 },
  );
});
