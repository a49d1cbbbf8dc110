/** A dataset from a hub: its files, their place, and what is asked a second time. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { pullDataset } from "../../lib/hub/datasets.ts";
import { withHub } from "../helpers/hub_server.ts";
import { randomBytes } from "../helpers/random.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

Deno.test("pullDataset() gives paths of the split's files, with their bytes, and finds them again", async () => {
  const train = [randomBytes(7000, 1), randomBytes(6000, 2)];
  const files = {
    "README.md": "# rows",
    "data/test-00000-of-00001.parquet": randomBytes(5000, 3),
    "data/train-00000-of-00002.parquet": train[0],
    "data/train-00001-of-00002.parquet": train[1],
  };
  await inTempFolder((cacheDir) =>
    withHub({ "org/rows": { kind: "dataset", files } }, async ({ endpoint, log }) => {
      const options = { hub: { endpoint, cacheDir } };
      const found = await pullDataset("org/rows", options);
      assert.deepEqual(found.files.map((path) => Deno.readFileSync(path)), train);
      assert.match(
        found.files[0],
        /datasets--org--rows\/snapshots\/[0-9a-f]{40}\/data\/train-00000-of-00002\.parquet$/,
      );
      const requests = log.length;
      assert.deepEqual(await pullDataset("datasets/org/rows", options), found);
      assert.equal(log.length, requests);
      const { files: [test] } = await pullDataset("org/rows", { ...options, split: "test" });
      assert.equal(Deno.statSync(test).size, 5000);
    })
  );
});

Deno.test("pullDataset() refuses what is no name, and a model's name", async () => {
  await inTempFolder((cacheDir) =>
    withHub({ "org/m": { files: { "train.csv": "a,b" } } }, async ({ endpoint }) => {
      for (
        const [name, says] of [["rows.jsonl", /is not the name of a dataset/], [
          "org/m",
          /has no dataset org\/m/,
        ]] as const
      ) {
        await assert.rejects(
          pullDataset(name, { hub: { endpoint, cacheDir } }),
          (error) => error instanceof UserError && says.test(error.message),
        );
      }
    })
  );
});
