/** Models of a hub as a person uses them: pulled, trained by name, listed, removed. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { filesBelow } from "../helpers/files_below.ts";
import { inWorkplace, tinyTraining, type Workplace } from "../helpers/ftl.ts";
import { type HubServer, withHub } from "../helpers/hub_server.ts";

/** A hub that has the workplace's model as org/tiny, and the environment in which ftl asks it. */
async function withTiny(
  test: (about: Workplace & { hub: HubServer; env: Record<string, string> }) => Promise<void>,
): Promise<void> {
  await inWorkplace(async (place) => {
    const read = (name: string): [string, Uint8Array] => [name, Deno.readFileSync(join(place.folder, "model", name))];
    const files = Object.fromEntries(filesBelow(join(place.folder, "model")).map(read));
    await withHub({ "org/tiny": { files } }, async (hub) => {
      await test({
        ...place,
        hub,
        env: { HF_ENDPOINT: hub.endpoint, HF_HOME: join(place.folder, "hf"), HF_TOKEN: "" },
      });
    });
  });
}

Deno.test("a model of a hub: pulled, trained without asking again, listed with its NF4 weights, removed", async () => {
  await withTiny(async ({ ftl, folder, env, hub }) => {
    const pulled = await ftl(["pull", "org/tiny"], env);
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.equal(pulled.stdout.trim(), join(folder, "hf/hub/models--org--tiny/snapshots", hub.commit("org/tiny")));
    assert.match(pulled.stderr, /^org\/tiny: fetching 1 file, .* from 127\.0\.0\.1:\d+$/m);
    assert.match(pulled.stderr, /^org\/tiny: fetched, checksums right$/m);

    const requests = hub.log.length, args = [...tinyTraining, "-m", "org/tiny@main"];
    const trained = await ftl(args, env);
    assert.equal(trained.code, 0, trained.stderr);
    assert.equal(hub.log.length, requests);
    const adapter = JSON.parse(Deno.readTextFileSync(join(folder, "runs/tiny-main-1/adapter/adapter_config.json")));
    assert.deepEqual([adapter.base_model_name_or_path, adapter.revision], ["org/tiny", "main"]);

    const listed = await ftl(["models", "--json"], env);
    const { models: [model], weights: [nf4] } = JSON.parse(listed.stdout);
    assert.deepEqual([model.name, model.cache, model.format, model.readable], [
      "org/tiny",
      "huggingface",
      "safetensors",
      true,
    ]);
    assert.ok(nf4.model.endsWith(pulled.stdout.trim().slice(-60)), nf4.model);
    const table = await ftl(["models"], env);
    assert.match(table.stdout, /^ {2}org\/tiny +\d+ kB {2}today {2}safetensors {2}readable$/m);
    assert.match(table.stdout, /in 4-bit NF4.*\n {2}org\/tiny +\d+ kB {2}today\n/);

    const removed = await ftl(["models", "remove", "org/tiny"], env);
    assert.match(removed.stdout, /^removed org\/tiny, freed \d+ kB and \d+ kB of NF4 weights\n$/);
    assert.deepEqual(filesBelow(join(folder, "hf", "hub")), []);
    assert.deepEqual(filesBelow(join(folder, "cache", "weights")), []);
  });
});

Deno.test("ftl train with a hub's name pulls what is not there, saying so; a local folder of that name wins", async () => {
  await withTiny(async ({ ftl, folder, env, hub }) => {
    const trained = await ftl([...tinyTraining, "-m", "org/tiny"], env);
    assert.equal(trained.code, 0, trained.stderr);
    assert.match(trained.stderr, /^org\/tiny: fetching 1 file/);
    assert.match(trained.stderr, /^model +org\/tiny, /m);

    const requests = hub.log.length;
    Deno.mkdirSync(join(folder, "org"));
    Deno.renameSync(join(folder, "model"), join(folder, "org", "tiny"));
    Deno.removeSync(join(folder, "hf"), { recursive: true });
    const local = await ftl([...tinyTraining, "-m", "org/tiny"], env);
    assert.equal(local.code, 0, local.stderr);
    const missing = await ftl([...tinyTraining, "-m", "org/tinny"], env);
    assert.match(missing.stderr, /No model at org\/tinny: no such file or folder/);
    assert.equal(hub.log.length, requests, "neither asked the hub");
  });
});

Deno.test("ftl models says what is wrong with its arguments and names, and that nothing is there", async () => {
  await withTiny(async ({ ftl, env }) => {
    const [none, unknown, wrong] = await Promise.all([
      ftl(["models"], env),
      ftl(["models", "remove", "org/tiny"], env),
      ftl(["models", "delete"], env),
    ]);
    assert.match(none.stdout, /^nothing is cached; .*ftl pull fetches a model\n$/);
    assert.match(unknown.stderr, /^ftl: org\/tiny is not cached\n/);
    assert.deepEqual([none.code, unknown.code, wrong.code], [0, 1, 2]);
  });
});
