/** Which files of a repository are taken: of models by what they need, of datasets by split and configuration. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { chooseFiles } from "../../lib/hub/choose_files.ts";
import { chooseDataFiles } from "../../lib/hub/datasets.ts";

const sized = (paths: string[]) => paths.map((path, i) => ({ path, size: 1000 + i }));

/** GGUF files of a repository, what is asked for, and what should come. */
const gguf: [string, string[], { quant?: string; file?: string }, string[] | RegExp][] = [
  ["Q4_K_M before others", ["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], {}, ["m-Q4_K_M.gguf"]],
  ["the nearest where there is none", ["m.Q2_K.gguf", "m.Q5_K_M.gguf", "m.f16.gguf"], {}, ["m.Q5_K_M.gguf"]],
  ["names in small letters", ["m-q2_k.gguf", "m-q4_k_m.gguf"], {}, ["m-q4_k_m.gguf"]],
  ["the smallest of unknown ones", ["b.gguf", "a.gguf"], {}, ["b.gguf"]],
  ["the only one", ["model.gguf"], {}, ["model.gguf"]],
  ["a named quantisation", ["m-Q4_K_M.gguf", "m-IQ4_XS.gguf"], { quant: "iq4_xs" }, ["m-IQ4_XS.gguf"]],
  ["F16 is not BF16", ["m-BF16.gguf", "m-F16.gguf"], { quant: "F16" }, ["m-F16.gguf"]],
  ["Q4_K is not Q4_K_M", ["m-Q4_K_M.gguf"], { quant: "Q4_K" }, /no Q4_K \| There are: Q4_K_M/],
  ["a size that looks like one", ["Q4-model-Q8_0.gguf"], { quant: "Q8_0" }, ["Q4-model-Q8_0.gguf"]],
  ["all parts", ["a/m-Q4_0-00002-of-00002.gguf", "a/m-Q4_0-00001-of-00002.gguf"], {}, [
    "a/m-Q4_0-00001-of-00002.gguf",
    "a/m-Q4_0-00002-of-00002.gguf",
  ]],
  ["parts that are missing", ["m-Q4_0-00001-of-00003.gguf"], {}, /has 1 of the 3 parts of m-Q4_0\.gguf/],
  ["a file by name", ["a/m-Q4_0.gguf", "b/m-Q4_0.gguf"], { file: "b/m-Q4_0.gguf" }, ["b/m-Q4_0.gguf"]],
  ["a part by name", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], { file: "m-00002-of-00002.gguf" }, [
    "m-00001-of-00002.gguf",
    "m-00002-of-00002.gguf",
  ]],
  ["no image encoder", ["mmproj-model-f16.gguf", "m-F32.gguf"], {}, ["m-F32.gguf"]],
  ["nothing by that name", ["m-Q4_0.gguf"], { file: "x.gguf" }, /has no x\.gguf \| There are: Q4_0 \(1\.0 kB\)/],
];
for (const [what, paths, asked, expected] of gguf) {
  Deno.test(`chooseFiles() of GGUF: ${what}`, () => {
    const choose = () => chooseFiles(sized(paths), { repo: "org/m", ...asked });
    if (expected instanceof RegExp) refuses(choose, expected);
    else assert.deepEqual(choose().large(() => ""), expected);
  });
}

Deno.test("chooseFiles() takes safetensors before GGUF, unless a GGUF is named", () => {
  const files = sized(["config.json", "m-Q4_0.gguf", "model.safetensors", "tokenizer.json"]);
  const { kind, small, large } = chooseFiles(files, { repo: "org/m" });
  assert.deepEqual([kind, small, large(() => "")], [
    "safetensors",
    ["config.json", "tokenizer.json"],
    ["model.safetensors"],
  ]);
  assert.equal(chooseFiles(files, { repo: "org/m", quant: "Q4_0" }).kind, "gguf");
});

function refuses(run: () => unknown, says: RegExp): void {
  assert.throws(run, (error) => error instanceof UserError && says.test(`${error.message} | ${error.hint}`));
}

const shards = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
const data: [string, string[], { config?: string; split?: string }, string[] | RegExp][] = [
  ["train by default", [...shards, "data/test-00000-of-00001.parquet", "README.md"], {}, shards],
  ["another split", [...shards, "data/test.parquet"], { split: "test" }, ["data/test.parquet"]],
  [
    "a split that is not there",
    [...shards, "data/test.parquet"],
    { split: "tesst" },
    /no split tesst, did you mean test\?/,
  ],
  ["one file without a split", ["rows.jsonl", ".gitattributes"], {}, ["rows.jsonl"]],
  ["train of one set of rows", ["rows.jsonl"], { split: "train" }, ["rows.jsonl"]],
  ["a word that holds a split's name", ["constraints.csv"], { split: "test" }, /no split test \| It has one set/],
  ["rows without a split beside a test", ["rows.csv", "rows_test.csv"], {}, ["rows.csv"]],
  [
    "only splits that are not train",
    ["test.csv", "validation.csv"],
    {},
    /splits, and none was chosen \| .*test, validation/,
  ],
  ["only a test", ["test.csv"], {}, ["test.csv"]],
  ["Parquet before CSV of the same", ["train.csv", "train.parquet"], {}, ["train.parquet"]],
  ["no metadata", ["dataset_infos.json", "train.json"], {}, ["train.json"]],
  [
    "configurations, none chosen",
    ["en/train.csv", "de/train.csv"],
    {},
    /has 2 configurations.*\| Choose one of: de, en; as \S+:\w+\//,
  ],
  ["a configuration", ["en/train.csv", "de/train.csv"], { config: "de" }, ["de/train.csv"]],
  ["one that is not there", ["en/train.csv", "de/train.csv"], { config: "fr" }, /no configuration fr/],
  ["main before others", ["main/train.csv", "socratic/train.csv"], {}, ["main/train.csv"]],
  ["folders named as splits", ["train/a.jsonl", "test/a.jsonl"], {}, ["train/a.jsonl"]],
  ["the root is the default configuration", ["train.csv", "de/train.csv"], {}, ["train.csv"]],
  ["no rows", ["README.md", "rows.zip"], {}, /no data files in CSV, JSON, JSON lines or Parquet/],
];
for (const [what, paths, asked, expected] of data) {
  Deno.test(`chooseDataFiles(): ${what}`, () => {
    const choose = () => chooseDataFiles(paths, { repo: "org/rows", ...asked });
    if (expected instanceof RegExp) refuses(choose, expected);
    else assert.deepEqual(choose(), expected);
  });
}

const card = `---
license: mit
configs:
- config_name: en
  data_files:
  - split: train
    path: en/part-*.csv
  - split: test
    path: [en/held.csv, "en/more.csv"]
- config_name: de
  default: true
  data_dir: german
  data_files: "*.jsonl"
---
# Rows`;
const carded = ["en/part-1.csv", "en/part-0.csv", "en/held.csv", "en/more.csv", "german/a.jsonl", "x.csv", "README.md"];
const byCard: [string, { config?: string; split?: string }, string[] | RegExp][] = [
  ["the default configuration, of which all is train", {}, ["german/a.jsonl"]],
  ["another, its train", { config: "en" }, ["en/part-0.csv", "en/part-1.csv"]],
  ["another split", { config: "en", split: "test" }, ["en/held.csv", "en/more.csv"]],
  ["one that is not there", { config: "fr" }, /has no configuration fr \| There are: en, de/],
  ["a split that is not there", { config: "en", split: "dev" }, /has no split dev \| There are: train, test/],
];
for (const [what, asked, expected] of byCard) {
  Deno.test(`chooseDataFiles() by the card: ${what}`, () => {
    const choose = () => chooseDataFiles(carded, { repo: "org/rows", ...asked, card });
    if (expected instanceof RegExp) refuses(choose, expected);
    else assert.deepEqual(choose(), expected);
  });
}

Deno.test("chooseDataFiles() goes by paths where the card says nothing of files, or is broken", () => {
  const head = (yaml: string) => `---\n${yaml}\n---\n`;
  const silent = [
    "",
    "# Rows",
    head("license: mit"),
    head("a: ["),
    head("configs: 5"),
    head("configs:\n- null"),
    head("configs:\n- config_name: a"),
  ];
  for (const text of silent) {
    assert.deepEqual(chooseDataFiles(["train.csv", "test.csv"], { repo: "org/rows", card: text }), ["train.csv"], text);
  }
  const wrong = head("configs:\n- config_name: a\n  data_files: none.csv");
  refuses(
    () => chooseDataFiles(["train.csv"], { repo: "org/rows", card: wrong }),
    /no files at none\.csv, where its README/,
  );
});
