/** What counts as noise, what is done about it, and that everything else stays as it was. */
import assert from "node:assert/strict";
import { cleanRows } from "../../lib/data/clean.ts";
import type { Row } from "../../lib/data/rows.ts";
import { mendMojibake, repairText } from "../../lib/data/text_repair.ts";
import { UserError } from "../../lib/errors.ts";

const source = "data.jsonl";
const good = { line: 1, instruction: "Q", input: "", output: "A" };
const row = (keys: Record<string, unknown>): Row => ({ ...good, line: 2, instruction: "Other", ...keys }) as Row;
const chat = (...contents: [role: string, content: string][]): Row => ({
  line: 2,
  messages: contents.map(([role, content]) => ({ role, content })),
});

const dropped: [name: string, row: Row, what: RegExp][] = [
  ["an empty answer", row({ output: "" }), /^no answer$/],
  ["an answer of white space", row({ output: " \n\t\u00a0\u3000" }), /^no answer$/],
  ["an answer nobody can see", row({ output: "\u200b\u200e\ufeff" }), /^no answer$/],
  ["an answer of control characters", row({ output: "\u0000\u0001" }), /^no answer$/],
  ["neither instruction nor input", row({ instruction: " ", input: "" }), /^no question$/],
  ["replacement characters", row({ output: "Caf\ufffd" }), /U\+FFFD/],
  ["half a surrogate pair", row({ output: "x\ud83d" }), /surrogate/],
  ["the same row", row({ instruction: "Q" }), /^the same as line 1$/],
  ["the same row but for white space", row({ instruction: " Q\n", output: "A  " }), /^the same as line 1$/],
  ["the same row but for a zero-width space", row({ instruction: "Q\u200b" }), /^the same as line 1$/],
  ["a conversation without an answer", chat(["user", "Q"]), /no assistant message/],
  ["a conversation with an empty answer", chat(["user", "Q"], ["assistant", " "]), /message 2 is empty/],
  ["an answer without a question", chat(["assistant", "A"]), /^no question$/],
  ["no messages", chat(), /no assistant message/],
];
for (const [name, bad, what] of dropped) {
  Deno.test(`cleanRows drops ${name}`, () => {
    const { rows, notes } = cleanRows([good, bad], { source });
    assert.deepEqual(rows, [good]);
    assert.equal(notes.length, 1);
    assert.match(notes[0].what, what);
    assert.deepEqual([notes[0].source, notes[0].line, notes[0].action], [source, 2, "dropped"]);
  });
}

const mended: [name: string, from: string, to: string, what: RegExp][] = [
  ["control characters", "a\u0000b\u0007c\u001b[0m\u007f", "abc[0m", /control characters/],
  ["a byte order mark and zero-width spaces", "\ufeffa\u200bb\u2060c", "abc", /invisible/],
  ["Windows line ends", "a\r\nb\rc", "a\nb\nc", /carriage returns/],
  ["a mangled accent", "CafÃ© crÃ¨me", "Café crème", /Ã© for é/],
  ["mangled quotes", "itâ€™s â€œsoâ€\u009d", "it’s “so”", /â€™ for ’/],
  ["a mangled dash and no-break space", "1Â\u00a0â€“Â\u00a02", "1\u00a0–\u00a02", /read as Windows-1252/],
  ["a mangled emoji", "ok ðŸ˜€", "ok 😀", /read as Windows-1252/],
  ["mangled Cyrillic", "ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет", /read as Windows-1252/],
  ["mangled Chinese", "ä¸\u00adæ–‡", "中文", /read as Windows-1252/],
];
for (const [name, from, to, what] of mended) {
  Deno.test(`cleanRows mends ${name}`, () => {
    const { rows, notes } = cleanRows([row({ output: from })], { source });
    assert.equal((rows[0] as typeof good).output, to);
    assert.match(notes[0].what, what);
    assert.notEqual(notes[0].action, "dropped");
  });
}

const intact = [
  "Plain text\twith tabs\nand lines.",
  "Crème brûlée à l’Église, «voilà…» – Ÿ",
  "Er hat Spaß… „Spaß“ und Fuß” – Maße",
  "fatigué…” créé–” été’”",
  "SÃO PAULO, NÃO, MAÇÃ» e «IRMÃ», AÇÃ° Â é",
  "Ð and Ñ: the letters eth and eñe; Ñ° Ð”",
  "فارسی می\u200cخواهم",
  "👩\u200d👩\u200d👧 क्\u200dष",
  "שלום\u200f!",
  "Tiếng Việt được, İstanbul, Příliš žluťoučký",
  "你好。こんにちは、안녕",
  "3 × 5 ÷ 2 ± ½ ° µ",
];
for (const text of intact) {
  Deno.test(`repairText leaves ${JSON.stringify(text)} as it is`, () => {
    assert.deepEqual(repairText(text), { text, done: [] });
  });
}

Deno.test("mendMojibake undoes what Windows-1252 makes of every letter of Latin-1", () => {
  const table = new Map<number, string>();
  for (let byte = 0; byte < 256; byte++) {
    // What the standard calls windows-1252, with its five open bytes as control characters.
    table.set(byte, new TextDecoder("windows-1252").decode(Uint8Array.of(byte)));
  }
  for (let code = 0xa0; code < 0x100; code++) {
    const letter = String.fromCharCode(code);
    const mangled = [...new TextEncoder().encode(letter)].map((byte) => table.get(byte)).join("");
    assert.equal(mendMojibake(`na${mangled}f`).text, `na${letter}f`);
  }
});

Deno.test("cleanRows keeps order, lines and rows it did not change, and leaves its argument alone", () => {
  const rows = [row({ line: 9, output: "b\u0000" }), good, row({ line: 3, instruction: "x" })];
  const before = structuredClone(rows);
  const result = cleanRows(rows, { source });
  assert.deepEqual(result.rows.map((kept) => kept.line), [9, 1, 3]);
  assert.deepEqual(result.rows[1], good);
  assert.deepEqual(rows, before);
});

Deno.test("cleanRows keeps two questions with one answer, and one question with two answers", () => {
  const rows = [good, row({}), row({ instruction: "Q", output: "B" })];
  assert.equal(cleanRows(rows, { source }).rows.length, 3);
});

Deno.test("cleanRows says so when no row is left", () => {
  assert.throws(() => cleanRows([row({ output: "" })], { source }), (error: unknown) => {
    assert(error instanceof UserError);
    assert.match(error.message, /data\.jsonl: none of the 1 rows can be trained on; the first, line 2: no answer/);
    return true;
  });
});
