/** The sample data sets: what data/README.md says of them is so. */
import assert from "node:assert/strict";
import { samples, unseenSetOf } from "../../lib/cli/samples.ts";
import { holdsAccepted, tokenF1 } from "../../lib/eval/text_metrics.ts";

interface SampleRow {
  instruction: string;
  input: string;
  output: string;
  accept?: string[];
  choices?: string[];
  answer?: number;
}

const rowsOf = (name: string) =>
  samples[`data/${name}.jsonl`].trimEnd().split("\n").map((line): SampleRow => JSON.parse(line));
const asked = ({ instruction, input }: SampleRow) => `${instruction}|${input}`;

Deno.test("every data file travels with the program, and stands in the README with its number of rows", () => {
  const root = new URL("../../data/", import.meta.url);
  const files = [...Deno.readDirSync(root)].map(({ name }) => name).filter((name) => name.endsWith(".jsonl")).sort();
  assert.deepEqual(Object.keys(samples).map((name) => name.replace("data/", "")).sort(), files);
  const readme = Deno.readTextFileSync(new URL("README.md", root));
  for (const name of files) {
    assert.ok(readme.includes(`\`${name}\``), name);
    const count = rowsOf(name.replace(".jsonl", "")).length;
    assert.equal(String(count), /(\d+)\.jsonl$/.exec(name)![1], "the name says how many rows there are");
  }
});

Deno.test("the 4 rows are in the 8, the 8 in the 16, and each has its other question at the same depth", () => {
  for (const kind of ["cultural-qa", "cultural-qa-unseen"]) {
    const [four, eight, sixteen] = [4, 8, 16].map((n) => rowsOf(`${kind}-${n}`).map((row) => JSON.stringify(row)));
    assert.ok(four.every((row) => eight.includes(row)) && eight.every((row) => sixteen.includes(row)), kind);
  }
  for (const n of [4, 8, 16]) {
    const trained = rowsOf(`cultural-qa-${n}`).map((row) => `${row.instruction} ${row.input} ${row.output}`);
    // A question about a trained fact shares rare words with its row; every row is the nearest of one question.
    const nearest = rowsOf(`cultural-qa-unseen-${n}`).map((row) => {
      const near = trained.map((text) => tokenF1(text, `${row.instruction} ${row.output} ${row.output}`));
      return near.indexOf(Math.max(...near));
    });
    assert.ok(new Set(nearest).size >= n - 2, `${n}: ${nearest}`);
    assert.equal(unseenSetOf(`data/cultural-qa-${n}.jsonl`), `data/cultural-qa-unseen-${n}.jsonl`);
  }
});

Deno.test("no question stands in two sets, and none is asked twice", () => {
  const sets = ["cultural-qa-16", "cultural-qa-unseen-16", "cultural-qa-untaught-16", "control-20"];
  const all = sets.flatMap((name) => rowsOf(name).map(asked));
  assert.equal(new Set(all).size, all.length);
});

Deno.test("of every row's choices the right one, and no other, holds what is accepted, and so does the reference", () => {
  for (const name of ["cultural-qa-unseen-16", "cultural-qa-untaught-16", "control-20"]) {
    const places = [0, 0, 0, 0];
    for (const { output, accept, choices, answer, instruction } of rowsOf(name)) {
      assert.equal(holdsAccepted(output, accept!), 1, instruction);
      assert.equal(choices!.length, 4);
      choices!.forEach((choice, i) => assert.equal(holdsAccepted(choice, accept!), i === answer ? 1 : 0, choice));
      places[answer!]++;
    }
    assert.ok(places.every((count) => count >= 3), `${name}: the right choice stands anywhere: ${places}`);
  }
});
