/** The page and its figures: texts of models stay texts, what was not measured is said, files need no page around them. */
import assert from "node:assert/strict";
import { accuracyFigures, shortNames } from "../../lib/report/accuracy_charts.ts";
import { bandOf, lossFigures, svgFile } from "../../lib/report/charts.ts";
import { html } from "../../lib/report/html.ts";
import { pngOf } from "../../lib/report/png.ts";
import { sayChange } from "../../lib/report/tables.ts";
import { drawReport, hostile, reportData } from "../helpers/report_data.ts";

Deno.test("html`` escapes every text and joins what is HTML already", () => {
  const inner = html`<b>${"<&>\"'"}</b>`;
  assert.equal(
    html`<i>${inner}${["x", inner]}${null}${false}${0}</i>`.text,
    "<i><b>&#60;&#38;&#62;&#34;&#39;</b>x<b>&#60;&#38;&#62;&#34;&#39;</b>0</i>",
  );
});

Deno.test("reportPage() holds no script and no tag from a text, and every text as it was", async () => {
  const page = await drawReport(reportData());
  assert.doesNotMatch(page, /<script|<img|onerror="|javascript:|<link|@import|url\(/i);
  assert.equal(page.match(/<\/style>/g)!.length, 1);
  assert.equal(page.match(/<main>/g)!.length, 1);
  const escaped = html`${hostile}`.text;
  // Title twice, about, gap, legend and names: at least once for each place of a text.
  assert.ok(page.split(escaped).length - 1 >= 14, String(page.split(escaped).length));
  assert.match(page, /default-src 'none'/);
});

Deno.test("reportPage() says what was not measured instead of a number", async () => {
  const data = reportData("plain");
  const page = await drawReport({
    ...data,
    groups: data.groups.map((group) => ({ ...group, logs: [], sets: [], finalLoss: null })),
    answers: [],
    compared: null,
    costs: [],
    training: null,
  });
  assert.ok(page.split("Not measured").length - 1 >= 4);
  assert.doesNotMatch(page, /NaN|undefined|Infinity|Beside the paper/);
  assert.doesNotMatch(await drawReport(data), /NaN|undefined|Infinity/);
});

Deno.test("bandOf() is mean, lowest and highest over seeds, of the steps that all have", () => {
  const line = (step: number, loss: number) => ({
    ...{ step, loss, grad_norm: 0, learning_rate: 0, tokens: 0, seconds: 0 },
  });
  const logs = [[line(1, 1), line(2, 2), line(3, 9)], [line(1, 3), line(2, 2)]];
  assert.deepEqual(bandOf(logs, ({ loss }) => loss), [
    { step: 1, mean: 2, low: 1, high: 3 },
    { step: 2, mean: 2, low: 2, high: 2 },
  ]);
  assert.deepEqual(bandOf([], ({ loss }) => loss), []);
  assert.deepEqual(bandOf(logs, ({ memory_bytes }) => memory_bytes), []);
});

Deno.test("figures in a page follow its colours, files of their own have them inside", async () => {
  const { groups } = reportData("plain");
  const accuracy = await accuracyFigures(groups), loss = await lossFigures(groups);
  assert.deepEqual(loss.map(({ name }) => name), ["loss-one", "loss"]);
  for (const { svg, title } of [...accuracy, ...loss]) {
    assert.match(svg, /var\(--/);
    assert.doesNotMatch(svg, / id="/, "several stand in one page");
    const file = svgFile({ title, svg });
    assert.doesNotMatch(file, /var\(/);
    assert.match(file, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[^>]*><rect [^>]*fill="white"\/>/);
    assert.ok(file.includes(`>${title}</text>`));
  }
  const long = svgFile({ title: `<${"x".repeat(500)}`, svg: loss[0].svg });
  assert.match(long, />&#60;x{50,70}…<\/text>/);
});

Deno.test("sayChange() tells chance from change by the interval", () => {
  const of = (value: number, low: number | null, high: number | null) =>
    sayChange({ value, low, high, rows: 5 }, "accepted");
  assert.equal(of(0.5, 0.25, 0.75), "change +50.0 (+25.0 to +75.0)");
  assert.equal(of(-0.1, -0.2, 0.1), "change -10.0 (-20.0 to +10.0), may be chance");
  assert.equal(of(0.5, null, null), "change +50.0, of one question");
  assert.equal(of(0, 0, 0), "no change");
});

Deno.test("shortNames() leaves out what names begin with alike, at a word's end, and never all of one", () => {
  const of = (...names: string[]) => Object.values(shortNames(names)).flat();
  assert.deepEqual(of("cultural-qa-4", "cultural-qa-8", "cultural-qa-16"), ["cultural-qa-", "4", "8", "16"]);
  assert.deepEqual(of("rank-10", "rank-16"), ["rank-", "10", "16"]);
  assert.deepEqual(of("rows-4", "rows-"), ["", "rows-4", "rows-"]);
  assert.deepEqual(of("one", "two"), ["", "one", "two"]);
  assert.deepEqual(of("alone-1"), ["", "alone-1"]);
});

Deno.test("a long answer is folded and stands in the page once, a short one as it is", async () => {
  const data = reportData("plain");
  const text = "word ".repeat(100), lines = "a\n".repeat(9), short = "b ".repeat(100);
  data.answers[0].answers = [text, lines, short].map((text) => ({ who: "one", text, cut: true }));
  const page = await drawReport(data);
  assert.equal(page.match(/<details class="long">/g)!.length, 2);
  assert.equal(page.split(text.trim()).length, 2);
  assert.match(page, /<dd>b b .* \[cut\]<\/dd>/);
});

Deno.test("pngOf() draws lines and letters of many scripts at three times the size", async () => {
  const picture = (text: string) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><rect width="100%" height="100%" fill="white"/>` +
    `<text x="5" y="25" font-family="system-ui, sans-serif" font-size="13">${text}</text></svg>`;
  const none = await pngOf(picture(""));
  const view = new DataView(none.buffer, none.byteOffset);
  assert.deepEqual([...none.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.deepEqual([view.getUint32(16), view.getUint32(20)], [600, 120]);
  const drawn = await Promise.all(["loss", "Łódź", "Θήρα", "потери"].map((text) => pngOf(picture(text))));
  assert.equal(new Set([none, ...drawn].map((bytes) => bytes.toString())).size, 5, "each has letters of its own");
  const [figure] = await lossFigures(reportData("plain").groups);
  assert.ok((await pngOf(svgFile(figure))).length > 5000);
});
