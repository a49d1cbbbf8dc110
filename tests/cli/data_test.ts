/** `ftl data` end to end on a tiny model: what it shows and writes, and that training goes the same way. */
import assert from "node:assert/strict";
import { readLog } from "../../lib/train/log.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { xlsxOf } from "../helpers/tables.ts";

const table =
  "pregunta;respuesta;id\n¿Qué es A?;Una letra.;1\n¿Qué es B?;Otra letra.;2\n¿Qué es A?;Una letra.;3\n¿Y?;;4\n";

Deno.test("ftl data shows what is trained, what was cleaned, and how long rows are", async () => {
  await inWorkplace(async ({ ftl, write }) => {
    write("rows.csv", table);
    const { code, stdout, stderr } = await ftl([
      "data",
      "rows.csv",
      "-m",
      "model",
      "--train-on-responses-only",
      "--rows",
      "1",
    ]);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^data {8}4 rows of rows\.csv\n {12}read as questions with answers \(pregunta, respuesta\); not used: id\n/,
    );
    assert.match(stdout, /cleaned {5}2 dropped\n/);
    assert.match(stdout, /rows\.csv:4: the same as rows\.csv:2; dropped\n/);
    assert.match(stdout, /rows\.csv:5: no answer; dropped\n/);
    assert.match(stdout, /max_length {2}2048 holds 100\.0 % of the rows; \d+ would hold 100\.0 %\n/);
    assert.match(stdout, /### Response:\n\[Una letra\.<[^>]+>\]\n$/);
    assert.equal(stdout.includes("\x1b"), false);
  });
});

Deno.test("ftl data counts a conversation that lost a turn as mended", async () => {
  await inWorkplace(async ({ ftl, write }) => {
    const turns = ["assistant", "user", "assistant"].map((role) => ({ role, content: `said by ${role}` }));
    write("rows.jsonl", JSON.stringify({ messages: turns }));
    const { stdout, stderr } = await ftl(["data", "rows.jsonl", "-m", "model"]);
    assert.match(
      stdout,
      /cleaned {5}1 mended\n {12}rows\.jsonl:1: an answer before the first question; left out\n/,
      stderr,
    );
  });
});

Deno.test("ftl data counts the rows of an array on one line", async () => {
  await inWorkplace(async ({ ftl, write }) => {
    const row = (instruction: string, output: string) => ({ instruction, output });
    const rows = [row("What?", "That."), row("What?", "That."), row("Who?", ""), row("Why?", "So.\r\nYes.")];
    write("rows.json", JSON.stringify(rows));
    const { stdout, stderr } = await ftl(["data", "rows.json", "-m", "model"]);
    assert.match(stdout, /^data {8}4 rows of rows\.json\n/, stderr);
    assert.match(stdout, /cleaned {5}2 dropped; 1 mended\n/);
    assert.match(stdout, /rows\.json:1, row 2: the same as rows\.json:1; dropped\n/);
  });
});

Deno.test("ftl data --json says the same for programs, and --output-file writes a split that can be read again", async () => {
  await inWorkplace(async ({ ftl, folder, write }) => {
    const cells = Array.from({ length: 20 }, (_, i) => [`What is ${i}?`, `Number ${i} it is.`]);
    write("rows.xlsx", xlsxOf({ Rows: [["question", "answer"], ...cells] }));
    const ran = await ftl([
      "data",
      "rows.xlsx",
      "rows.jsonl",
      "-m",
      "model",
      "--json",
      "--output-file",
      "clean.jsonl",
      "--eval-split",
      "0.25",
    ]);
    assert.equal(ran.code, 0, ran.stderr);
    const found = JSON.parse(ran.stdout);
    assert.deepEqual(found.read_as, [
      "questions with answers (question, answer)",
      "Alpaca rows (instruction, input, output)",
    ]);
    const { read, train, held_out } = found.rows;
    assert.deepEqual([read, train + held_out], [26, 26]);
    assert(held_out >= 1 && held_out <= 7, `${held_out}`);
    assert(found.tokens.total > found.tokens.trained);
    assert.equal(found.shown.length, 3);
    const lines = (name: string) =>
      Deno.readTextFileSync(`${folder}/${name}`).trimEnd().split("\n").map((line) => JSON.parse(line));
    const parts = [lines("clean.train.jsonl"), lines("clean.eval.jsonl")];
    assert.deepEqual(parts.map((part) => part.length), [train, held_out]);
    assert.deepEqual(Object.keys(parts[0][0]), ["instruction", "input", "output"]);
    assert.equal(new Set(parts.flat().map(({ instruction }) => instruction)).size, 26);
  });
});

Deno.test("ftl train takes several files, columns and documents, and config.yaml repeats them", async () => {
  await inWorkplace(async ({ ftl, folder, write }) => {
    write("odd.csv", "Q,A,text\nWhat?,This.,x\nWho?,You.,y\n");
    const args = [
      ...tinyTraining,
      "--questions",
      "0",
      "-d",
      "odd.csv",
      "--columns",
      "instruction=Q,output=A",
      "-e",
      "odd.csv",
    ];
    args.splice(args.indexOf("rows.jsonl") - 1, 2);
    const first = await ftl(args);
    assert.equal(first.code, 0, first.stderr);
    assert.match(
      first.stderr,
      /data {6}2 rows of odd\.csv, \d+ tokens, prompt style alpaca; 2 rows held out\n {10}read as questions with answers \(Q, A\); not used: text\n/,
    );
    const again = await ftl(["train", "runs/model-1/config.yaml"]);
    assert.equal(again.code, 0, again.stderr);
    const losses = (run: string) =>
      readLog(`${folder}/runs/${run}/log.jsonl`).map(({ loss, grad_norm }) => [loss, grad_norm]);
    assert.deepEqual(losses("model-2"), losses("model-1"));

    Deno.mkdirSync(`${folder}/texts/more`, { recursive: true });
    write("texts/a.txt", "Number one is red.\n".repeat(5));
    write("texts/more/b.md", "Number two is green.\n".repeat(5));
    const texts = await ftl([
      "train",
      "-m",
      "model",
      "-d",
      "texts",
      "-s",
      "2",
      "--threads",
      "1",
      "--max-length",
      "32",
      "-o",
      "t",
    ]);
    assert.equal(texts.code, 0, texts.stderr);
    assert.match(texts.stderr, /rows of texts, \d+ tokens, packed\n {10}read as raw text \(text\)\n/);
  });
});
