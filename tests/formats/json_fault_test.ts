import assert from "node:assert/strict";
import { jsonFault } from "../../lib/formats/json_fault.ts";
import { randomBits } from "../helpers/bytes.ts";

Deno.test("jsonFault() names the byte where a text stops being JSON", () => {
  const cases: [text: string, offset: number][] = [
    ["", 0],
    ["{", 1],
    ["{]", 1],
    ["[}", 1],
    ["[1,]", 3],
    ["[1 2]", 3],
    ["[1]]", 3],
    ['{"a"}', 4],
    ['{"a":}', 5],
    ['{"a":1,}', 7],
    ['{"é🙂":}', 10],
    ["[01]", 2],
    ["[-]", 1],
    ["[tru]", 1],
    ['["\\x"]', 2],
    ['["\n"]', 2],
    ['["abc', 5],
    ["{'a':1}", 1],
    ["1 ", -1],
    [" [ ] ", -1],
    ['{"a":{"b":[1,-2.5e-3,"\\u00e9",true,null]},"c":{}}', -1],
  ];
  for (const [text, offset] of cases) assert.equal(jsonFault(text)?.offset ?? -1, offset, text);
});

Deno.test("jsonFault() names a key that occurs twice in one object, not in different ones", () => {
  assert.deepEqual(jsonFault('{"a":1,"\\u0061":2}'), { duplicateKey: "a", offset: 7 });
  assert.deepEqual(jsonFault('[{"é":[{"k":1,"k":2}]}]'), { duplicateKey: "k", offset: 15 });
  assert.equal(jsonFault('{"a":{"a":["a","a"]},"b":{"a":1}}'), undefined);
  assert.equal(jsonFault('{"__proto__":1,"constructor":2}'), undefined);
});

Deno.test("jsonFault() agrees with JSON.parse on damaged texts", () => {
  const text = '{"a": [1, -2.5e3, "x\\n\\u00e9", true, {"b": null}], "c": {"d": "", "e": [[], {}]}}';
  const random = randomBits(5), marks = '{}[],:"\\ 019.-eEtn\n';
  let valid = 0;
  for (let round = 0; round < 3000; round++) {
    const at = random() % text.length, mark = marks[random() % marks.length];
    const damaged = text.slice(0, at) + mark + text.slice(at + random() % 3);
    let parses = true;
    try {
      JSON.parse(damaged);
    } catch {
      parses = false;
    }
    const fault = jsonFault(damaged);
    assert.equal(fault === undefined || fault.duplicateKey !== undefined, parses, damaged);
    if (parses) valid++;
  }
  assert.ok(valid > 100 && valid < 2900, `${valid} of 3000 still valid`);
});

Deno.test("jsonFault() stops at absurd nesting, and reads long strings", () => {
  assert.equal(jsonFault("[".repeat(100_000))?.offset, 64);
  assert.equal(jsonFault(JSON.stringify("x\\".repeat(300_000))), undefined);
});
