/**
 * Names inside files never become paths outside the folder that the file lies in. Shards and archives are in
 * file_corpus.ts, repositories in tests/hub, adapters that clients name in tests/serve/adapters_test.ts.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { planExperiment } from "../../lib/cli/experiment_plan.ts";
import { readReport } from "../../lib/cli/report_data.ts";
import { runName } from "../../lib/cli/run_folder.ts";
import { openFolderTensors } from "../../lib/model/model_files.ts";
import { openGgufFiles } from "../../lib/model/gguf_files.ts";
import { partKeys } from "../../lib/formats/gguf_parts.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { assertRefused, concat } from "../helpers/bytes.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import * as rowSeeds from "./row_seeds.ts";

const outside = ["..", "../other", "../../etc", "/etc", "a/b", "a\\b", "C:", "", ".", ".hidden", "-rf\0", "a\nb"];

Deno.test("readReport() follows no cell of results.json out of the experiment's folder", async () => {
  await inTempFolder((folder) => {
    const inside = join(folder, "experiment");
    Deno.mkdirSync(join(folder, "other", "run"), { recursive: true });
    Deno.mkdirSync(inside);
    rowSeeds.writeRun(join(folder, "other", "run"));
    const cell = (name: string) => ({
      ...{ name, status: "done", train_seconds: 1, eval_seconds: 1, energy_joules: null },
    });
    for (const name of outside) {
      for (const results of [{ cells: [cell(name)], groups: [] }, { cells: [], groups: [group(name)] }]) {
        const file = { format: "ftl-experiment/1", name: "x", settings: {}, ...results };
        Deno.writeTextFileSync(join(inside, "results.json"), JSON.stringify(file));
        assertRefused(
          () => readReport(inside),
          /results\.json: (cells|groups)\.0\..*expected the name of a folder/,
          name,
        );
      }
    }
  });
});

const group = (name: string) => ({ label: "x", rows: 1, cells: [name], final_loss: null, sets: [] });

Deno.test("an experiment's cells are folders below it, whatever its settings are called", () => {
  for (const name of outside.filter((name) => name !== "")) {
    const text = JSON.stringify({ data: [`${name}/x.jsonl`, `${name}/y.jsonl`], model: [name, `${name}/m`] });
    for (const cell of planExperiment({ text, name: "e.yaml" }).cells) assert.match(cell.name, /^[\w-][\w.+-]*$/, name);
  }
});

Deno.test("a run's folder is one name, whatever its model is called", () => {
  for (const name of outside) assert.match(runName(name), /^[^/\\\0\n]+$/, name);
});

Deno.test("parts of a GGUF model are looked for beside the first one only", async () => {
  await inTempFolder((folder) => {
    const first = join(folder, "m-00001-of-00002.gguf");
    const keys = partKeys({ no: 0, count: 2, tensors: 1 });
    const more = [["general.name", { type: "string" as const, value: "../../evil" }]] as const;
    Deno.writeFileSync(first, concat(writeGguf([...keys, ...more.map(([k, v]): [string, typeof v] => [k, v])], [])));
    assertRefused(() => openGgufFiles(first), /Cannot find part 2 of 2 of the model: .*m-00002-of-00002\.gguf/);
  });
});

Deno.test("a shard that is a link to nowhere, or to itself, is missing", async () => {
  await inTempFolder((folder) => {
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), '{"weight_map": {"a": "a.safetensors"}}');
    for (const target of ["none", "a.safetensors", "/proc/self/mem"]) {
      Deno.symlinkSync(target, join(folder, "a.safetensors"));
      assertRefused(() => openFolderTensors(folder), /a\.safetensors/);
      Deno.removeSync(join(folder, "a.safetensors"));
    }
  });
});
