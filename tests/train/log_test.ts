/** The log file and the curves drawn from it. */
import assert from "node:assert/strict";
import { type LogLine, openLog, readLog } from "../../lib/train/log.ts";
import { lossCurveSvg, lossCurveText } from "../../lib/train/loss_curve.ts";
import { inTemporaryFolder } from "../helpers/train_bigram.ts";

const line = (step: number, extra: Partial<LogLine> = {}): LogLine => ({
  step,
  loss: 4 * Math.exp(-step / 10) + 0.2,
  grad_norm: 1 / step,
  learning_rate: 2e-3,
  tokens: 727,
  seconds: 1.25,
  ...extra,
});
const lines = (count: number) =>
  Array.from({ length: count }, (_, i) => line(i + 1, i % 5 === 4 ? { eval_loss: 4.5 * Math.exp(-i / 10) + 0.3 } : {}));

Deno.test("openLog() appends lines that readLog() gives back exactly", async () => {
  await inTemporaryFolder(({ log: path }) => {
    const log = openLog(path, { afterStep: 0 });
    for (const each of lines(7)) log.append(each);
    assert.deepEqual(readLog(path), lines(7)); // readable while it is open
    log.close();
    assert.equal(Deno.readTextFileSync(path).split("\n")[4], JSON.stringify(lines(5)[4]));
    return Promise.resolve();
  });
});

Deno.test("openLog() keeps the steps before a resumed one and cuts off the rest, half lines included", async () => {
  await inTemporaryFolder(({ log: path }) => {
    const text = lines(7).map((each) => JSON.stringify(each) + "\n").join("") + '{"step":8,"lo';
    Deno.writeTextFileSync(path, text);
    const log = openLog(path, { afterStep: 4 });
    log.append(line(5));
    log.close();
    assert.deepEqual(readLog(path), [...lines(4), line(5)]);
    openLog(path, { afterStep: 0 }).close();
    assert.deepEqual(readLog(path), []);
    return Promise.resolve();
  });
});

Deno.test("readLog() names the line that is damaged", async () => {
  await inTemporaryFolder(({ log: path }) => {
    Deno.writeTextFileSync(path, `${JSON.stringify(line(1))}\n{"step":2,\n${JSON.stringify(line(3))}\n`);
    assert.throws(() => readLog(path), { name: "UserError", message: /log.jsonl:2: not a step of training/ });
    assert.throws(() => readLog(`${path}.missing`), { name: "UserError", message: /no such file/ });
    return Promise.resolve();
  });
});

Deno.test("lossCurveText() draws the course of the loss with its range, within the width", () => {
  for (const [count, width] of [[1, 40], [2, 40], [30, 60], [55, 60], [1000, 40]]) {
    const chart = lossCurveText(lines(count), { width, height: 8 });
    const rows = chart.split("\n");
    assert.ok(rows.every((row) => row.length <= width + 10), chart);
    assert.match(rows.at(-1)!, new RegExp(`^ *1\\b${count > 1 ? `.*\\b${count}$` : ""}`), chart);
    assert.match(chart, /^ *0┤/m);
    assert.equal(/o/.test(chart), count >= 5, chart);
  }
  const [high, low] = [lossCurveText(lines(30)).split("\n"), lossCurveText([line(1, { loss: 0.5 })]).split("\n")];
  assert.ok(high.findIndex((row) => row.includes("┓")) < high.findLastIndex((row) => row.includes("┗")), "it falls");
  assert.ok(low.some((row) => row.startsWith("0.6┤")), low.join("\n"));
  assert.equal(lossCurveText([]), "");
});

Deno.test("lossCurveSvg() is a self-contained SVG with a line per series", async () => {
  const svg = await lossCurveSvg(lines(30), { title: "SmolLM2 & 16 rows" });
  assert.match(svg, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  assert.match(svg, /SmolLM2 &amp; 16 rows/);
  assert.match(svg, /held out/);
  assert.equal(svg.match(/aria-roledescription="line mark"/g)?.length, 2);
  assert.doesNotMatch(svg, /NaN|undefined|<script|href=/);
  const plain = await lossCurveSvg([line(1), line(2)]);
  assert.equal(plain.match(/aria-roledescription="line mark"/g)?.length, 1);
  assert.doesNotMatch(plain, /held out/);
});
