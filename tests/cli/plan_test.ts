/** `ftl plan` as a person runs it: what fits and what does not, cards that are not here, and JSON. */
import assert from "node:assert/strict";
import type { RunPlan } from "../../lib/cli/plan_report.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { plannedAndMeasured } from "../helpers/planned_run.ts";

const quick = ["--no-measure", "--engine", "onnx"];

Deno.test("ftl plan says what a run takes, over the rows or without any, and ftl train then says the same", async () => {
  await inWorkplace(async ({ ftl, list }) => {
    const plain = await ftl(["plan", "model", "--engine", "onnx", "--max-length", "64"]);
    assert.equal(plain.code, 0, plain.stderr);
    assert.match(plain.stdout, /^model {5}model, \d+K parameters, frozen in 4-bit NF4$/m);
    assert.match(plain.stdout, /^step {6}8 rows, 512 tokens \(no data named, so each row counts as max_length, 64\)$/m);
    assert.match(plain.stdout, /^memory {4}\d\.\d\d GiB expected at most, \d+\.\d\d GiB free now$/m);
    assert.match(
      plain.stdout,
      /^time {6}about .+ a step, \d+ tokens\/s \(.*measured here: \d+ GFLOP\/s\)\n.*for 30 steps/m,
    );
    assert.match(plain.stdout, /^disk {6}\d.*quantised weights, kept in the cache, .*checkpoints, .*adapter$/m);
    assert.deepEqual(list("runs"), [], "nothing is written");
    assert.deepEqual(list("cache/weights"), []);

    const { code, stdout } = await ftl(["plan", ...tinyTraining.slice(1), ...quick, "--json"]);
    assert.equal(code, 0);
    const plan = JSON.parse(stdout) as RunPlan;
    assert.deepEqual([plan.step.from, plan.step.rows, plan.run.rows, plan.run.steps], ["rows.jsonl", 6, 6, 4]);
    const parts = Object.values(plan.memory!.parts).reduce((a, b) => a + b);
    assert.ok(Math.abs(parts / plan.memory!.bytes - 1) < 1e-9);
    assert.equal(plan.step.seconds, undefined);
    const train = await ftl([...tinyTraining, "--engine", "onnx"]);
    assert.equal(train.code, 0, train.stderr);
    const said = /memory +(\d+) MB expected at most/.exec(train.stderr)!;
    assert.equal(Number(said[1]), Math.round(plan.memory!.bytes / 1e6));
    const again = JSON.parse((await ftl(["plan", ...tinyTraining.slice(1), ...quick, "--json"])).stdout) as RunPlan;
    assert.ok(plan.disk.cache > 0 && again.disk.cache === 0, "the weights are in the cache now");
  });
});

Deno.test("ftl plan points to its own help", async () => {
  await inWorkplace(async ({ ftl }) => {
    const { code, stderr } = await ftl(["plan", "model", "--max-length", "0"]);
    assert.equal(code, 2);
    assert.match(stderr, /--max-length: expected .*\n {2}try: See .*ftl plan --help\n$/);
  });
});

Deno.test("ftl plan says what does not fit, and what would", async () => {
  await inWorkplace(async ({ ftl }) => {
    const flags = ["--max-length", "4096", "--max-memory", "0.25"];
    const { code, stdout } = await ftl(["plan", "model", ...quick, ...flags, "--json"]);
    assert.equal(code, 1);
    const plan = JSON.parse(stdout) as RunPlan;
    assert.equal(plan.fits, false);
    assert.match(plan.problem!, /^Cannot train this model in 0\.25 GiB: one row of 4096 tokens at a time needs /);
    const shorter = plan.alternatives.find(({ settings }) => settings.max_length)!;
    const { max_length } = shorter.settings;
    for (const [length, fits] of [[max_length!, 0], [2 * max_length!, 1]]) {
      const run = ["plan", "model", ...quick, "--max-memory", "0.25", "--max-length", String(length)];
      assert.equal((await ftl(run)).code, fits, `max_length ${length}`);
    }
    const more = plan.alternatives.find(({ settings }) => settings.max_memory)!;
    assert.ok(more.bytes <= Number(more.settings.max_memory) * 2 ** 30);
    const text = await ftl(["plan", "model", ...quick, ...flags]);
    assert.match(text.stdout, new RegExp(`^try {7}max_length ${max_length}: 0\\.\\d\\d GiB$`, "m"));
  });
});

Deno.test("ftl plan plans for cards that are not here", async () => {
  await inWorkplace(async ({ ftl }) => {
    const card = await ftl(["plan", "model", "--card", "rtx-4090"]);
    assert.equal(card.code, 0, card.stderr);
    assert.match(card.stdout, /^engine {4}RTX 4090: /m);
    assert.match(card.stdout, /^time {6}about \d+ ms a step, \d+ tokens\/s \(an H100's measured speed/m);
    const memory = await ftl(["plan", "model", "--engine", "dawn", "--max-memory", "24GiB", "--json"]);
    assert.equal(memory.code, 0, memory.stderr);
    const plan = JSON.parse(memory.stdout) as RunPlan;
    assert.ok(plan.fits && plan.memory!.bytes < 24 * 2 ** 30);
    for (const { ratio, why } of plan.alternatives) assert.ok(ratio !== undefined || why !== undefined);
    for (const flags of [["--card", "rtx-9999"], ["--max-memory", "24TiB"]]) {
      const wrong = await ftl(["plan", "model", ...flags]);
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /^ftl: --(card|max-memory): expected /);
    }
  });
});

Deno.test({
  name: "ftl train takes the memory that ftl plan says",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { planned, measured } = await plannedAndMeasured({
      ...{ shape: "a seventh of smollm2-135m", rows: 4, length: 256 },
      flags: ["-b", "2", "-g", "2", "--max-memory", "2"],
    });
    const ratio = planned.bytes / measured.bytes;
    assert.ok(ratio > 0.9 && ratio < 1.1, `planned ${planned.bytes}, taken ${measured.bytes}: ${ratio.toFixed(2)}`);
  },
});
