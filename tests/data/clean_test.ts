/** What counts as noise, what is done about it, and that everything else stays as it was. */
import assert from "node:assert/strict";
import { makeCleaner } from "../../lib/data/clean.ts";
import type { CleaningNote, Row } from "../../lib/data/rows.ts";
import { mendMojibake, repairText } from "../../lib/data/text_repair.ts";

const good = { place: "d:1", instruction: "Q", input: "", output: "A" };
const row = (keys: Record<string, unknown>): Row => ({ ...good, place: "d:2", instruction: "Other", ...keys }) as Row;
const chat = (...contents: [role: string, content: string][]): Row => ({
  place: "d:2",
  messages: contents.map(([role, content]) => ({ role, content })),
});

function cleanRows(rows: Row[]): { rows: Row[]; notes: CleaningNote[] } {
  const notes: CleaningNote[] = [];
  const clean = makeCleaner(notes);
  return { rows: rows.map(clean).filter((row) => row !== undefined), notes };
}

const dropped: [name: string, row: Row, what: RegExp][] = [
  ["an empty answer", row({ output: "" }), /^no answer$/],
  ["an answer of white space", row({ output: " \n\t\u00a0\u3000" }), /^no answer$/],
  ["an answer nobody can see", row({ output: "\u200b\u200e\ufeff" }), /^no answer$/],
  ["an answer of control characters", row({ output: "\u0000\u0001" }), /^no answer$/],
  ["neither instruction nor input", row({ instruction: " ", input: "" }), /^no question$/],
  ["replacement characters", row({ output: "Caf\ufffd" }), /U\+FFFD/],
  ["half a surrogate pair", row({ output: "x\ud83d" }), /surrogate/],
  ["the same row", row({ instruction: "Q" }), /^the same as d:1$/],
  ["the same row but for white space", row({ instruction: " Q\n", output: "A  " }), /^the same as d:1$/],
  ["the same row but for a zero-width space", row({ instruction: "Q\u200b" }), /^the same as d:1$/],
  ["a conversation without an answer", chat(["user", "Q"]), /no assistant message/],
  ["a conversation with an empty answer", chat(["user", "Q"], ["assistant", " "]), /message 2 is empty/],
  ["an answer without a question", chat(["assistant", "A"]), /^no question$/],
  ["no messages", chat(), /no assistant message/],
];
for (const [name, bad, what] of dropped) {
  Deno.test(`cleanRows drops ${name}`, () => {
    const { rows, notes } = cleanRows([good, bad]);
    assert.deepEqual(rows, [good]);
    assert.equal(notes.length, 1);
    assert.match(notes[0].what, what);
    assert.deepEqual([notes[0].place, notes[0].action], ["d:2", "dropped"]);
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
    const { rows, notes } = cleanRows([row({ output: from })]);
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
  const rows = [row({ place: "d:9", output: "b\u0000" }), good, row({ place: "d:3", instruction: "x" })];
  const before = structuredClone(rows);
  const result = cleanRows(rows);
  assert.deepEqual(result.rows.map((kept) => kept.place), ["d:9", "d:1", "d:3"]);
  assert.deepEqual(result.rows[1], good);
  assert.deepEqual(rows, before);
});

Deno.test("cleanRows keeps two questions with one answer, and one question with two answers", () => {
  const rows = [good, row({}), row({ instruction: "Q", output: "B" })];
  assert.equal(cleanRows(rows).rows.length, 3);
});

const turn = (role: string, content: string, more = {}) => ({ role, content, ...more });
const call = { tool_calls: [{ type: "function", function: { name: "f", arguments: {} } }] };
const ordered: [name: string, turns: [string, string][], kept: [string, string][], what: RegExp][] = [
  ["two questions in a row", [["user", "a"], ["user", "b"], ["assistant", "c"]], [["user", "a\n\nb"], [
    "assistant",
    "c",
  ]], /two user messages in a row/],
  ["two answers in a row", [["user", "a"], ["assistant", "b"], ["assistant", "c"]], [["user", "a"], [
    "assistant",
    "b\n\nc",
  ]], /two assistant/],
  [
    "a greeting",
    [["assistant", "hi"], ["user", "a"], ["assistant", "b"]],
    [["user", "a"], ["assistant", "b"]],
    /answer before the first question/,
  ],
  [
    "a greeting behind a system message",
    [["system", "s"], ["assistant", "hi"], ["user", "a"], ["assistant", "b"]],
    [["system", "s"], ["user", "a"], ["assistant", "b"]],
    /answer before the first question/,
  ],
  ["a question without an answer", [["user", "a"], ["assistant", "b"], ["user", "c"]], [["user", "a"], [
    "assistant",
    "b",
  ]], /user message after the last answer/],
];
for (const [name, turns, kept, what] of ordered) {
  Deno.test(`cleanRows puts ${name} in order`, () => {
    const { rows, notes } = cleanRows([chat(...turns)]);
    assert.deepEqual(rows, [chat(...kept)]);
    assert.match(notes[0].what, what);
  });
}

const outOfOrder: [name: string, messages: { role: string; content: string }[], what: RegExp][] = [
  ["an unknown role", [turn("user", "a"), turn("critic", "b"), turn("assistant", "c")], /unknown role "critic"/],
  [
    "a late system message",
    [turn("user", "a"), turn("system", "b"), turn("assistant", "c")],
    /message 2 is a system message/,
  ],
  [
    "a result without a call",
    [turn("user", "a"), turn("tool", "b"), turn("assistant", "c")],
    /message 2 is a tool's result/,
  ],
  ["a result at the beginning", [turn("tool", "b"), turn("assistant", "c")], /message 1 is a tool's result/],
];
for (const [name, messages, what] of outOfOrder) {
  Deno.test(`cleanRows drops a conversation with ${name}`, () => {
    const { rows, notes } = cleanRows([{ place: "d:2", messages }]);
    assert.deepEqual(rows, []);
    assert.match(notes[0].what, what);
  });
}

Deno.test("cleanRows keeps calls of tools, their results, and answers with nothing but a call", () => {
  const messages = [
    turn("user", "a"),
    turn("assistant", "", call),
    turn("tool", "1"),
    turn("tool", "2"),
    turn("assistant", "b"),
  ];
  const { rows, notes } = cleanRows([{ place: "d:2", messages }]);
  assert.deepEqual(rows, [{ place: "d:2", messages }]);
  assert.deepEqual(notes, []);
});
