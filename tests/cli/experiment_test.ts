/**
 * `ftl experiment` and `ftl report` as a person runs them, on a tiny model: killed at any moment and started again it
 * comes to the same table; a cell that fails holds nothing up.
 */
import assert from "node:assert/strict";
import type { CompareResults } from "../../lib/eval/comparison.ts";
import type { ExperimentResults } from "../../lib/eval/experiment.ts";
import type { EvalResults } from "../../lib/eval/results.ts";
import { lockFolder } from "../../lib/files/lock.ts";
import { inWorkplace, rows, type Workplace } from "../helpers/ftl.ts";
import { ftlHere, withFtlHere } from "../helpers/ftl_here.ts";

const grid = `model: model
data: [two.jsonl, rows.jsonl]
seed: [1]
max_steps: 6
warmup_steps: 1
learning_rate: 1e-2
save_steps: 1
threads: 1
engine: onnx
limit: 2
max_new_tokens: 4
compare: rows.jsonl
`;

function prepare({ write }: Workplace): void {
  write("grid.yaml", grid);
  write("two.jsonl", rows.split("\n").slice(0, 2).join("\n") + "\n");
}

const resultsIn = ({ folder }: Workplace, name: string): ExperimentResults =>
  JSON.parse(Deno.readTextFileSync(`${folder}/${name}/results.json`));

/** Without what another run cannot repeat. */
function lasting(results: ExperimentResults): unknown {
  const measured = { train_seconds: 0, eval_seconds: 0, memory_bytes: 0, energy_joules: 0, card_energy_joules: 0 };
  return { ...results, created: "", cells: results.cells.map((cell) => ({ ...cell, ...measured })) };
}

const tableOf = (stdout: string) => stdout.replace(/, (at least )?[\d:]+ in all/, "").replace(/\ncompared.*/s, "");

/** Who gave which answers. */
const comparedIn = ({ folder }: Workplace, name: string) =>
  (JSON.parse(Deno.readTextFileSync(`${folder}/${name}/compare/results.json`)) as CompareResults).models
    .map(({ name: model, answers }) => [model.replace(name, ""), ...answers.map(({ text }) => text)]);

Deno.test("ftl experiment, killed again and again, comes to the table of one that ran through", async () => {
  await inWorkplace(async (place) => {
    prepare(place);
    const { ftl, start, folder } = place;
    const whole = await ftl(["experiment", "grid.yaml", "-o", "whole"]);
    assert.equal(whole.code, 0, whole.stderr);
    assert.match(whole.stdout, /two +1 +[\d.]+ .*\nrows +1 +[\d.]+ /);
    assert.match(whole.stdout, /2 of 2 cells are finished/);
    const expected = resultsIn(place, "whole");
    assert.deepEqual(expected.cells.map(({ status, steps, rows }) => [status, steps, rows]), [["done", 6, 2], [
      "done",
      6,
      6,
    ]]);
    assert.deepEqual(comparedIn(place, "whole").map(([model, ...answers]) => [model, answers.length]), [
      ["model", 2],
      ["/two_seed-1/run", 2],
      ["/rows_seed-1/run", 2],
    ]);
    assert.match(
      whole.stdout,
      /\ncompared, .* rows: holds the answer % +first token +tokens\/s +cost +size\nmodel, base +\d.*\ntwo +\d.*\nrows +\d/,
    );
    const evaluated = ["two", "rows"].map((cell): EvalResults =>
      JSON.parse(Deno.readTextFileSync(`${folder}/whole/${cell}_seed-1/eval.json`))
    );
    const [inTwo, inRows] = evaluated.map(({ sets }) => sets.find(({ role }) => role === "control")!.rows);
    assert.deepEqual(inRows.map(({ base }) => base), inTwo.map(({ base }) => base), "measured once, for both cells");
    assert.ok(inRows.every(({ base, tuned }) => base!.loss! > 0 && tuned!.loss !== base!.loss));
    assert.equal(Object.keys(JSON.parse(Deno.readTextFileSync(`${folder}/whole/base_answers.json`)).answers).length, 4);
    const { train_seconds, eval_seconds } = expected.cells[0];
    const cellTime = 1000 * (train_seconds! + eval_seconds!);

    // Where each kill falls is left to chance; from a pure kill to Ctrl-C, the rest is done at the end.
    for (const signal of ["SIGKILL", "SIGINT", "SIGKILL"] as const) {
      const child = start(["experiment", "grid.yaml", "-o", "killed"]);
      const drained = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
      const timer = setTimeout(() => child.kill(signal), 800 + Math.random() * cellTime);
      const { code } = await child.status;
      clearTimeout(timer);
      await drained;
      assert.ok(code === 0 || code === 130 || code === 137, `exit code ${code}`);
    }
    const again = await ftl(["experiment", "grid.yaml", "-o", "killed"]);
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(lasting(resultsIn(place, "killed")), lasting(expected));
    assert.equal(tableOf(again.stdout), tableOf(whole.stdout));
    assert.deepEqual(comparedIn(place, "killed"), comparedIn(place, "whole"));
    assert.equal(
      Deno.readTextFileSync(`${folder}/killed/rows_seed-1/eval.json`).match(/"text": .*/g)!.join(),
      Deno.readTextFileSync(`${folder}/whole/rows_seed-1/eval.json`).match(/"text": .*/g)!.join(),
    );

    // Nothing is left, so nothing is run; another setting is another experiment.
    const before = Deno.statSync(`${folder}/killed/rows_seed-1/eval.json`).mtime!;
    const asked = Deno.readTextFileSync(`${folder}/killed/compare/answers.jsonl`);
    assert.equal(asked.split("\n").length - 1, 6, "three models, two questions, none asked twice");
    assert.equal((await ftl(["experiment", "grid.yaml", "-o", "killed"])).code, 0);
    assert.deepEqual(Deno.statSync(`${folder}/killed/rows_seed-1/eval.json`).mtime, before);
    assert.equal(Deno.readTextFileSync(`${folder}/killed/compare/answers.jsonl`), asked);
    const other = await ftl(["experiment", "grid.yaml", "-o", "killed", "--set", "max_steps=7"]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /ftl: Cannot go on in killed\/two_seed-1: max_steps was 6 and is 7\n/);

    const page = await ftl(["report", "whole"]);
    assert.equal(page.code, 0, page.stderr);
    const written = place.list("whole/report");
    assert.ok(
      ["index.html", "loss.svg", "memory.svg", "accuracy-trained-exact.svg"].every((name) => written.includes(name)),
    );
    const html = Deno.readTextFileSync(`${folder}/whole/report/index.html`);
    assert.match(html, /What is number 0\?/);
    assert.doesNotMatch(html, /<script|https?:\/\/(?!www\.w3\.org)/);
    const run = await ftl(["report", "whole/rows_seed-1/run", "-o", "page"]);
    assert.equal(run.code, 0, run.stderr);
    assert.match(Deno.readTextFileSync(`${folder}/page/index.html`), /Not measured: ftl eval measures it/);
  });
});

Deno.test("ftl experiment records a cell that fails and goes on; exit code 1, tried again the next time", async () => {
  await inWorkplace(async (place) => {
    prepare(place);
    const { ftl, folder } = place;
    const args = [
      "experiment",
      "grid.yaml",
      "--set",
      "data=rows.jsonl",
      "--set",
      "max_length=[8,512]",
      "--set",
      "max_steps=2",
    ];
    const dry = await ftl([...args, "--dry-run"]);
    assert.equal(dry.code, 0, dry.stderr);
    assert.match(
      dry.stderr,
      /2 cells in runs\/grid\n +seed-1_max_length-8 +6 rows +12 rows in all steps +to be trained\n/,
    );
    assert.deepEqual(place.list("runs"), []);
    const missing = await ftl([...args, "--set", "compare=nowhere.jsonl"]);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /^ftl: .*nowhere\.jsonl/);
    assert.deepEqual(place.list("runs"), [], "found out before anything is trained");

    const { code, stdout, stderr } = await ftl(args);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /cell 1 of 2, .*: failed: training: .*rows/);
    assert.match(stdout, /1 of 2 cells are finished/);
    assert.match(stdout, /failed: .*max_length-8/);
    const { cells, complete } = resultsIn(place, "runs/grid");
    assert.deepEqual([complete, ...cells.map(({ status }) => status)], [false, "failed", "done"]);
    const csv = Deno.readTextFileSync(`${folder}/runs/grid/results.csv`);
    assert.match(csv, /^cell,seed,max_length,rows,status,error,steps,/);
    assert.match(csv, /,failed,/);
    const page = await ftl(["report", "runs/grid"]);
    assert.equal(page.code, 0, page.stderr);
    assert.match(Deno.readTextFileSync(`${folder}/runs/grid/report/index.html`), /class="alert">.*failed: training/s);
    assert.match((await ftl([...args, "--dry-run"])).stderr, /to be trained, failed before/);
  });
});

Deno.test("ftl report says what it needs", async () => {
  await inWorkplace(async ({ ftl, write, folder }) => {
    const nothing = await ftl(["report", "model"]);
    assert.equal(nothing.code, 1);
    assert.match(nothing.stderr, /^ftl: Nothing to report on in model: /);
    assert.equal((await ftl(["report"])).code, 2);
    Deno.mkdirSync(`${folder}/other`);
    write("other/results.json", '{"format": "else"}');
    assert.match(
      (await ftl(["report", "other"])).stderr,
      /^ftl: Cannot read other\/results\.json: format is not as ftl writes it/,
    );
  });
});

Deno.test("ftl experiment waits for what a killed one had only just started, and takes what it finished", async () => {
  await inWorkplace(async ({ folder, write }) => {
    const settings = { max_steps: 2, save_steps: 1, threads: 1, engine: "onnx", limit: 1, max_new_tokens: 1 };
    write("grid.yaml", JSON.stringify({ model: `${folder}/model`, data: [`${folder}/rows.jsonl`], ...settings }));
    // Each of the first two trainings finds the folder as an orphan has it: at work, and done.
    const orphans = [
      async (run: string, args: string[]) => {
        Deno.mkdirSync(run);
        const lock = lockFolder(run), refused = await ftlHere(args);
        lock.release();
        return refused;
      },
      async (_: string, args: string[]) => {
        assert.equal((await ftlHere(args)).code, 0);
        return await ftlHere(args);
      },
    ];
    const refusals: string[] = [];
    const child = async (args: string[]) => {
      const orphan = args[0] === "train" ? orphans.shift() : undefined;
      if (!orphan) return await ftlHere(args);
      const refused = await orphan(args[args.indexOf("--output-dir") + 1], args);
      refusals.push(refused.stderr.split("\n")[0]);
      return refused;
    };
    await withFtlHere({ env: { FTL_CACHE: `${folder}/cache`, NO_COLOR: "1" }, child }, async () => {
      const { code, stderr } = await ftlHere(["experiment", `${folder}/grid.yaml`, "-o", `${folder}/experiment`]);
      assert.equal(code, 0, stderr);
    });
    assert.match(refusals[0], /is writing to it$/);
    assert.match(refusals[1], /^ftl: Output folder in use: /);
    const [cell] = JSON.parse(Deno.readTextFileSync(`${folder}/experiment/results.json`)).cells;
    assert.deepEqual([cell.status, cell.steps, cell.train_seconds], ["done", 2, null], "its time is not known");
  });
});
