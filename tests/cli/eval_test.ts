/** `ftl eval` as a person runs it, on a tiny model: the losses are training's, sets are apart, a judge may fail. */
import assert from "node:assert/strict";
import type { EvalResults } from "../../lib/eval/results.ts";
import { type Act, chatScript } from "../helpers/chat_script.ts";
import { assertClose } from "../helpers/close.ts";
import { filesWith, inWorkplace, tinyTraining, type Workplace } from "../helpers/ftl.ts";

const quick = ["--threads", "1", "--max-new-tokens", "6", "--engine", "onnx"];
const resultsIn = ({ folder }: Workplace, name: string): EvalResults =>
  JSON.parse(Deno.readTextFileSync(`${folder}/${name}`));

const questions = [
  {
    instruction: "What is number 0?",
    output: "Number 0 is red.",
    accept: ["red"],
    choices: ["Number 0 is red.", "Number 0 is pink."],
    answer: 0,
  },
  { instruction: "What is number 9?", output: "Number 9 is grey." },
].map((row) => JSON.stringify(row) + "\n").join("");

Deno.test("ftl eval of a run: training's own losses, trained rows and control apart, base beside tuned", async () => {
  await inWorkplace(async (place) => {
    const { ftl } = place;
    const trained = await ftl([...tinyTraining, "-l", "1e-2", "--train-on-responses-only"]);
    assert.equal(trained.code, 0, trained.stderr);
    const [, before, after] = /loss on 6 trained rows\s+([\d.]+) -> ([\d.]+)/.exec(trained.stdout)!.map(Number);

    const { code, stdout, stderr } = await ftl(["eval", "runs/model-1", ...quick, "--limit", "6", "-o", "all.json"]);
    assert.equal(code, 0, stderr);
    const results = resultsIn(place, "all.json");
    assert.deepEqual(results.sets.map(({ role, rows }) => [role, rows.length]), [["trained", 6], ["control", 6]]);
    const [{ scores, rows }, control] = results.sets;
    // What training printed has four decimals.
    assertClose([scores.base!.loss!.value, scores.tuned!.loss!.value], [before, after], { rtol: 0, atol: 6e-5 });
    assertClose([scores.tuned!.perplexity!.value], [Math.exp(scores.tuned!.loss!.value)], { rtol: 1e-12 });
    assertClose([scores.change!.loss!.value], [scores.tuned!.loss!.value - scores.base!.loss!.value], { rtol: 1e-9 });
    assert.ok(scores.change!.loss!.high! < 0, "it learned");
    const { loss, loss_tokens } = rows[0].base!;
    assert.ok(loss! > 0 && loss_tokens! > 3 && rows[0].base!.text !== undefined);
    assert.ok(control.rows.every(({ choices, base }) => choices!.length === 4 && base!.choice! >= 0));
    assert.equal(results.complete, true);
    assert.equal(results.model.prompt_style, "alpaca");
    assert.match(
      stdout,
      /memorised: rows that were trained \(rows\.jsonl, 6 rows\)\n +base +tuned +change\n +loss +\d/,
    );
    assert.match(stdout, /\nforgotten +holds the answer %/);
    assert.match(stdout, /What is number 0\?\n +reference +Number 0 is red\.\n +base/);

    const json = await ftl(["eval", "runs/model-1", "rows.jsonl", ...quick, "--json"]);
    assert.equal(json.code, 0, json.stderr);
    const [given] = (JSON.parse(json.stdout) as EvalResults).sets;
    assert.equal(given.role, "given");
    assert.deepEqual(given.scores, scores, "the same rows, the same numbers, whatever else is measured");
  });
});

Deno.test("ftl eval of a model on rows of one's own, with choices, as CSV, and a judge that fails at times", async () => {
  const act = (prompt: string, before: number): Act => {
    if (prompt.includes("number 9")) return { do: "status", status: 400, body: "no" };
    return before === 0 ? { do: "status", status: 500 } : { do: "answer", text: "CORRECT" };
  };
  await chatScript(act, async ({ url, asked }) => {
    await inWorkplace(async (place) => {
      place.write("own.jsonl", questions);
      const args = ["eval", "model", "own.jsonl", ...quick, "--judge", `${url}#j`, "-o", "own.csv"];
      const { code, stdout, stderr } = await place.ftl(args, { FTL_REMOTE_KEY: "secret-key-1" });
      assert.equal(code, 0, stderr);
      assert.match(stderr, /judge .*: 1 without a verdict: 400, the request is refused: no/);
      assert.match(stdout, /The judge, .*#j, was asked:\n\n +You grade an answer/);
      assert.match(stdout, /choice % +(0|100)\.0/);
      assert.match(stdout, /judged right % +100\.0\n/);
      assert.match(
        asked[0].body.messages instanceof Array ? asked[0].body.messages[0].content : "",
        /Reference:\nNumber/,
      );
      const lines = Deno.readTextFileSync(`${place.folder}/own.csv`).trimEnd().split("\r\n");
      assert.match(lines[0], /^set,role,place,question,reference,right_choice,model,text,/);
      assert.equal(lines.filter((line) => line.startsWith("own,given,own.jsonl:")).length, 2);
      assert.ok(!(stdout + stderr).includes("secret-key-1"));
      assert.deepEqual(filesWith(place.folder, "secret-key-1"), []);
    });
  });
});

Deno.test("ftl eval stops at Ctrl-C with what is known", async () => {
  await inWorkplace(async (place) => {
    const rows = Array.from({ length: 400 }, (_, i) => `{"instruction": "What is ${i}?", "output": "It is ${i}."}\n`);
    place.write("many.jsonl", rows.join(""));
    const child = place.start(["eval", "model", "many.jsonl", ...quick, "--max-new-tokens", "400", "-o", "many.json"]);
    // Once the file of prepared weights is there, the measuring begins.
    for (const end = Date.now() + 60_000; place.list("cache/weights").length === 0;) {
      assert.ok(Date.now() < end);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
    child.kill("SIGINT");
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert.equal(code, 130, text(stderr));
    assert.match(text(stderr), /stopping; what is known follows/);
    assert.match(text(stdout), /stopped early: \d+ questions are without an answer/);
    assert.equal(resultsIn(place, "many.json").complete, false);
  });
});

const refused: [string, string, RegExp][] = [
  [
    '{"instruction": "a", "output": "b", "choices": ["x"], "answer": 0}',
    "",
    /^ftl: bad\.jsonl:1: "choices" must be a list/,
  ],
  [
    '{"instruction": "a", "output": "b", "choices": ["x", "y"], "answer": 2}',
    "",
    /"answer" must be the place .* 0 to 1/,
  ],
  ['{"instruction": "a", "output": "b", "choices": ["x", "x"], "answer": 0}', "", /holds the same text twice/],
  ['{"instruction": "a", "output": "b", "accept": "b"}', "", /"accept" must be a list of at least 1 texts/],
  [
    '{"instruction": "a", "output": "b"}',
    "--output-file=x.txt",
    /--output-file x\.txt: expected a name that ends in \.json or \.csv/,
  ],
  ['{"instruction": "a", "output": "b"}', "--output-file=no/x.json", /Cannot write no\/x\.json: no such file/],
  [
    '{"instruction": "a", "output": "b"}',
    "--judge=nobody",
    /Remote model nobody: neither provider:model nor an address/,
  ],
];

Deno.test("ftl eval says in one line what is wrong with rows and settings, before it loads anything", async () => {
  await inWorkplace(async ({ ftl, write, list }) => {
    for (const [row, flag, says] of refused) {
      write("bad.jsonl", row + "\n");
      const { code, stderr } = await ftl(["eval", "model", "bad.jsonl", ...(flag ? [flag] : [])]);
      assert.ok(code === 1 || code === 2, stderr);
      assert.match(stderr, says);
      assert.ok(stderr.split("\n").length <= 3, stderr);
    }
    assert.deepEqual(list("cache"), []);
  });
});
