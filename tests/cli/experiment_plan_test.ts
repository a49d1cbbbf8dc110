/** From an experiment's text to its cells: what makes an axis, names, what is wrong with it said all at once. */
import assert from "node:assert/strict";
import { nextStage, whyFailed } from "../../lib/cli/experiment_cell.ts";
import { makeLabels } from "../../lib/cli/experiment_report.ts";
import { combinations, planExperiment } from "../../lib/cli/experiment_plan.ts";

const plan = (text: string, set: string[] = []) => planExperiment({ text, name: "grid.yaml" }, { set });
const problemsOf = (text: string, set: string[] = []) => {
  try {
    plan(text, set);
  } catch (error) {
    return (error as Error).message.split("\n").map((line) => line.trim());
  }
  return [];
};

Deno.test("combinations() makes every choice once, the last axis fastest", () => {
  assert.deepEqual(combinations([]), [{}]);
  assert.deepEqual(combinations([["a", [1, 2]], ["b", ["x", "y"]]]), [
    { a: 1, b: "x" },
    { a: 1, b: "y" },
    { a: 2, b: "x" },
    { a: 2, b: "y" },
  ]);
});

Deno.test("planExperiment() trains each combination of the lists, with every other setting", () => {
  const { cells, axes, evaluation, compare } = plan(
    "preset: quick\ndata: [a/4.jsonl, a/8.jsonl]\nseed: [1, 2, 3]\nlearning_rate: 1e-3\nlimit: 5\ncompare: q.jsonl\n",
  );
  assert.deepEqual(axes, ["data", "seed"]);
  assert.deepEqual(cells.map(({ name }) => name), [
    ...["4_seed-1", "4_seed-2", "4_seed-3"],
    ...["8_seed-1", "8_seed-2", "8_seed-3"],
  ]);
  assert.ok(cells.every(({ settings }) => settings.learning_rate === 1e-3 && settings.r === 8), "preset and line");
  assert.deepEqual(cells.map(({ settings }) => [settings.data, settings.seed])[4], [["a/8.jsonl"], 2]);
  assert.deepEqual(evaluation, { limit: 5, max_new_tokens: 80 });
  assert.deepEqual(compare, ["q.jsonl"]);
  assert.deepEqual(plan("compare: [a.jsonl, b.jsonl]").compare, ["a.jsonl", "b.jsonl"], "no axis");
  assert.deepEqual(plan("").compare, []);
  assert.match(problemsOf("compare: [1]")[0], /^grid\.yaml:1: compare: expected a list of texts/);
  assert.equal(cells[0].given.questions, 0, "ftl eval asks the questions");
});

Deno.test("planExperiment() takes a list of lists as an axis of settings that are lists", () => {
  assert.equal(plan("target_modules: [q_proj, v_proj]").cells.length, 1);
  const { cells } = plan("target_modules: [[q_proj], [q_proj, v_proj]]");
  assert.deepEqual(cells.map(({ name }) => name), ["target_modules-q_proj", "target_modules-q_proj-v_proj"]);
  assert.deepEqual(cells[1].settings.target_modules, ["q_proj", "v_proj"]);
});

Deno.test("planExperiment() keeps names apart where files are called alike, and keeps folders inside", () => {
  const { cells } = plan("data: [a/rows.jsonl, b/rows.jsonl, ../../rows.jsonl]");
  assert.deepEqual(cells.map(({ name }) => name), ["a-rows.jsonl", "b-rows.jsonl", "rows.jsonl"]);
  const together = plan("data: [[a/x.jsonl, b.csv], b.csv]").cells;
  assert.deepEqual(together.map(({ name, settings }) => [name, settings.data]), [
    ["x-b", ["a/x.jsonl", "b.csv"]],
    ["b", ["b.csv"]],
  ]);
  assert.match(problemsOf("data: [a b.jsonl, a-b.jsonl]")[0], /^grid\.yaml: two cells would be called a-b; /);
});

Deno.test("--set stands over the file's lines", () => {
  const { cells } = plan("seed: [1, 2]\nmax_steps: 30", ["seed=[7]", "max-steps=3"]);
  assert.deepEqual(cells.map(({ name, settings }) => [name, settings.max_steps]), [["seed-7", 3]]);
});

Deno.test("planExperiment() says everything that is wrong, and where", () => {
  assert.deepEqual(
    problemsOf("sead: [1]\nr: [4, 0]\nmodel: a\noutput_dir: x\nseed: [1, 1]\ndata: []\n", ["x"]),
    [
      "6 settings are wrong:",
      "--set x: expected name=value, as in seed=[1,2]",
      "grid.yaml:1: sead: unknown setting, did you mean seed?",
      "grid.yaml:2: r: expected a whole number, at least 1, at most 1024, got 0",
      "grid.yaml:4: output_dir: an experiment sets this itself",
      "grid.yaml:5: seed: a value stands there twice",
      "grid.yaml:6: data: the list is empty",
    ].map((line) => line.replace("7 settings", "6 settings")),
  );
  assert.match(problemsOf("seed: [1\n")[0], /^grid\.yaml:\d: /);
  assert.match(problemsOf("- 1\n")[0], /expected lines of the form name: value/);
  assert.match(problemsOf("eval_steps: [0, 5]")[0], /^Cell eval_steps-5: eval_steps: needs eval_data/);
  const many = Array.from({ length: 32 }, (_, i) => i);
  assert.match(
    problemsOf(`seed: ${JSON.stringify(many)}\nr: ${JSON.stringify(many.slice(1))}\nmax_steps: [1, 2]`)[0],
    /1984/,
  );
});

Deno.test("nextStage() does what is left and nothing twice", () => {
  const stage = (trained: boolean, evaluated: boolean, checkpoints: number) =>
    nextStage({ trained, evaluated }, { checkpoints });
  assert.equal(stage(false, false, 0), "train");
  assert.equal(stage(false, false, 2), "resume");
  assert.equal(stage(true, false, 2), "eval");
  assert.equal(stage(true, false, 0), "eval");
  assert.equal(stage(true, true, 2), "done");
});

Deno.test("whyFailed() repeats the program's own line", () => {
  const tail = ["step 1", "ftl: Cannot read x", "  try: y"];
  assert.equal(whyFailed("training", { code: 1, tail, killedBy: null }), "training: Cannot read x");
  assert.match(whyFailed("training", { code: 137, tail, killedBy: "SIGKILL" })!, /SIGKILL, out of memory\?/);
  assert.equal(whyFailed("training", { code: 3, tail: [], killedBy: null }), "training: exit code 3");
  assert.equal(whyFailed("training", { code: 0, tail, killedBy: null }), null);
});

Deno.test("makeLabels() names a group by what tells it from the others", () => {
  const labels = (...axes: Record<string, unknown>[]) => axes.map(makeLabels(axes));
  assert.deepEqual(labels({ data: "a/4.jsonl", r: 8 }, { data: "a/8.jsonl", r: 8 }), ["4, r 8", "8, r 8"]);
  assert.deepEqual(labels({ data: "a/x.jsonl" }, { data: "b/x.jsonl" }), ["a/x.jsonl", "b/x.jsonl"]);
  assert.deepEqual(labels({}), ["all"]);
});
