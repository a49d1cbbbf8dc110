/** A model or rows that are not here yet are fetched by a process of its own, for a command that has no network. */
import assert from "node:assert/strict";
import { inWorkplace, rows } from "../helpers/ftl.ts";
import { withHub } from "../helpers/hub_server.ts";

Deno.test("ftl data fetches a model and rows of the hub once, with nothing but its result on stdout", () =>
  inWorkplace(async ({ folder, ftl }) => {
    const files = Object.fromEntries(
      [...Deno.readDirSync(`${folder}/model`)].map(({ name }) => [name, Deno.readFileSync(`${folder}/model/${name}`)]),
    );
    const repos = {
      "org/tiny": { files },
      "org/rows": { kind: "dataset" as const, files: { "train.jsonl": rows, "test.jsonl": rows } },
    };
    await withHub(repos, async ({ endpoint, log }) => {
      const env = { HF_ENDPOINT: endpoint, HF_HOME: `${folder}/hf` };
      const args = ["data", "org/rows:train", "--model", "org/tiny", "--json"];
      const first = await ftl(args, env);
      assert.equal(first.code, 0, first.stderr);
      assert.match(first.stderr, /org\/tiny: fetching 1 file/);
      assert.match(first.stderr, /org\/rows: fetching 1 file/);
      const requests = log.length, second = await ftl(args, env);
      assert.equal(second.stdout, first.stdout);
      assert.equal(typeof JSON.parse(second.stdout), "object");
      assert.equal(log.length, requests, "what is cached is asked for no more");

      const missing = await ftl(["plan", "org/other"], env);
      assert.equal(missing.code, 1);
      assert.equal(missing.stderr.match(/^ftl: /gm)?.length, 1, missing.stderr);
      assert.match(missing.stderr, /no model org\/other/);
    });
  }));

Deno.test("with HF_HUB_OFFLINE nobody is asked", () =>
  inWorkplace(async ({ folder, ftl }) => {
    const { code, stderr } = await ftl(["plan", "org/tiny"], { HF_HUB_OFFLINE: "1", HF_HOME: `${folder}/hf` });
    assert.equal(code, 1);
    assert.match(stderr, /^ftl: org\/tiny is not in .*, and HF_HUB_OFFLINE forbids to fetch it\n {2}try: Unset/);
  }));
