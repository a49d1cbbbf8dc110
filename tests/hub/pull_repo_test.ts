/** Models from a hub: what is fetched, where it lies, who gets the token, and what is said when something is not right. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../lib/errors.ts";
import type { PullModelOptions } from "../../lib/hub/pull_repo.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { goodToken, type HubRepo, sha256 } from "../helpers/hub_server.ts";
import { inHubPlace as place, refusal } from "../helpers/hub_place.ts";
import { randomBytes as noise } from "../helpers/random.ts";

const weights = noise(300_001, 1);
const model: HubRepo = {
  files: {
    ".gitattributes": "*.safetensors filter=lfs",
    "README.md": "# a model",
    "config.json": '{"model_type": "llama"}',
    "generation_config.json": "{}",
    "model.safetensors": weights,
    "onnx/model.onnx": noise(9000, 2),
    "pytorch_model.bin": noise(300_000, 3),
    "tokenizer.json": `{"long": "${"x".repeat(6000)}"}`,
    "tokenizer_config.json": "{}",
  },
};

Deno.test("pullRepo() fetches what a model needs, into Hugging Face's layout, and later asks nobody", async () => {
  await place({ "org/m": model }, async ({ hub, cacheDir, notes, pull }) => {
    const seen: { bytes: number; total: number }[] = [];
    const { path, fetched } = await pull("org/m", { progress: (progress) => seen.push(progress) });
    const commit = hub.commit("org/m"), root = join(cacheDir, "models--org--m");
    assert.deepEqual({ path, fetched }, { path: join(root, "snapshots", commit), fetched: true });
    const wanted = [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ];
    assert.deepEqual(filesBelow(path), wanted);
    assert.deepEqual(Deno.readFileSync(join(path, "model.safetensors")), weights);
    assert.equal(Deno.readLinkSync(join(path, "model.safetensors")), join("..", "..", "blobs", sha256(weights)));
    assert.equal(Deno.readTextFileSync(join(root, "refs", "main")), commit);
    // Two of the files are "{}": one blob.
    assert.equal(filesBelow(join(root, "blobs")).length, 4);
    assert.deepEqual(notes, [`org/m: fetching 1 file, 300.0 kB, from ${new URL(hub.endpoint).host}`]);
    assert.equal(seen.at(-1)!.bytes, weights.length);
    assert.ok(seen.every(({ bytes, total }) => bytes <= total && total === weights.length));

    const requests = hub.log.length;
    assert.deepEqual(await pull("org/m"), { path, fetched: false });
    assert.deepEqual(await pull(`org/m@${commit}`), { path, fetched: false });
    assert.equal(hub.log.length, requests);
  });
});

Deno.test("pullRepo() with update takes a new commit, and only the files that changed", async () => {
  await place({ "org/m": { files: { ...model.files } } }, async ({ hub, pull }) => {
    const first = await pull("org/m"), before = hub.sent();
    hub.repos["org/m"].files["config.json"] = '{"model_type": "llama", "new": 1}';
    assert.deepEqual(await pull("org/m"), { path: first.path, fetched: false }, "without update nobody asks");
    const second = await pull("org/m", { update: true });
    assert.notEqual(second.path, first.path);
    assert.equal(hub.sent() - before, hub.repos["org/m"].files["config.json"].length);
    assert.deepEqual(await pull("org/m", { update: true }), { path: second.path, fetched: false });
    assert.deepEqual(await pull("org/m"), { path: second.path, fetched: false });
  });
});

Deno.test("a token goes to the hub and never to the store that the hub sends to", async () => {
  await place({ "org/m": { ...model, private: true } }, async ({ hub, pull }) => {
    await pull("org/m", { token: goodToken });
    assert.ok(hub.log.some((line) => line.startsWith("GET store/")));
    assert.deepEqual(hub.leaked, []);
    hub.strayPages = true;
    await pull("org/m", { token: goodToken, update: true }); // takes what is cached
    assert.ok(hub.log.includes("GET store/api/models/org/m/tree/" + hub.commit("org/m")));
    assert.deepEqual(hub.leaked, [], "nor to where a listing says that it goes on");
  });
});

Deno.test("a model at a branch with slashes, and at a tag", async () => {
  await place({ "org/m": model }, async ({ hub, cacheDir, pull }) => {
    for (const revision of ["refs/pr/1", "v1"]) {
      await pull(`org/m@${revision}`);
      const ref = join(cacheDir, "models--org--m", "refs", ...revision.split("/"));
      assert.equal(Deno.readTextFileSync(ref), hub.commit("org/m"));
    }
  });
});

const refused: { what: string; name?: string; repo?: HubRepo; token?: string; says: RegExp }[] = [
  {
    what: "a gate, without a token",
    repo: { ...model, gated: true },
    says: /org\/m is gated.*Accept it at http\S+\/org\/m, make a token/,
  },
  { what: "a token that is none", token: "hf_old", says: /does not accept the token from HF_TOKEN/ },
  { what: "a name that is not there", name: "org/none", says: /has no model org\/none: .*misspelt, or it is private/ },
  { what: "the same with a token", name: "org/none", token: goodToken, says: /your token \(HF_TOKEN\) may not see it/ },
  { what: "a private model", repo: { ...model, private: true }, says: /misspelt, or it is private, and needs a token/ },
  {
    what: "a revision that is not there",
    name: "org/m@nope",
    says: /org\/m has no such revision: Invalid rev id: nope/,
  },
  {
    what: "pickled weights",
    repo: { files: { "config.json": "{}", "pytorch_model.bin": "x" } },
    says: /pickled PyTorch/,
  },
  {
    what: "an adapter",
    repo: { files: { "adapter_config.json": "{}", "adapter_model.safetensors": "x" } },
    says: /is an adapter/,
  },
  { what: "no weights", repo: { files: { "README.md": "x" } }, says: /org\/m has no weights/ },
  { what: "no files", repo: { files: {} }, says: /org\/m has no weights/ },
  {
    what: "no tokenizer.json",
    repo: { files: { "config.json": "{}", "model.safetensors": "x", "tokenizer.model": "x" } },
    says: /has no tokenizer\.json, only tokenizer\.model/,
  },
  {
    what: "an index that names a file outside",
    repo: {
      files: {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "model.safetensors.index.json": '{"weight_map": {"a": "../x.safetensors"}}',
      },
    },
    says: /does not say which files hold the weights/,
  },
  {
    what: "an index that names a file which is not there",
    repo: {
      files: {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors"}}',
      },
    },
    says: /org\/m lacks model-1\.safetensors/,
  },
];

for (const { what, name = "org/m", repo = model, token, says } of refused) {
  Deno.test(`pullRepo() says what to do about ${what}, and fetches no weights`, async () => {
    await place({ "org/m": repo }, async ({ hub, cacheDir, pull }) => {
      assert.match(await refusal(pull(name, { token })), says);
      assert.deepEqual(hub.log.filter((line) => line.includes("store/")), []);
      assert.deepEqual(filesBelow(cacheDir).filter((path) => /incomplete|refs|ftl\//.test(path)), []);
    });
  });
}

Deno.test("a model that cannot be used is refused before its weights come", async () => {
  const gguf: HubRepo = { files: { "m-Q8_0.gguf": noise(200_000, 4) } };
  await place({ "org/m": model, "org/g": gguf }, async ({ hub, pull }) => {
    const inspect: PullModelOptions["inspect"] = (seen) => {
      throw new UserError(
        "config" in seen ? `${seen.where}: ${seen.config}` : `${seen.where}: ${seen.gguf.length} bytes`,
      );
    };
    assert.match(await refusal(pull("org/m", { inspect })), /^org\/m: config\.json: \{"model_type": "llama"\}/);
    assert.ok(!hub.log.some((line) => line.endsWith("model.safetensors")));
    const before = hub.sent();
    assert.match(await refusal(pull("org/g", { inspect })), /^org\/g: m-Q8_0\.gguf: 65536 bytes/);
    assert.equal(hub.sent() - before, 65536);
  });
});

Deno.test("shards come as the index says, other safetensors do not", async () => {
  const map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
  const files = {
    "config.json": "{}",
    "tokenizer.json": "{ }",
    "consolidated.safetensors": noise(9000, 5),
    "model-00001-of-00002.safetensors": noise(150_000, 6),
    "model-00002-of-00002.safetensors": noise(120_000, 7),
    "model.safetensors.index.json": JSON.stringify({ weight_map: map }),
  };
  await place({ "org/m": { files } }, async ({ pull }) => {
    const { path } = await pull("org/m");
    assert.deepEqual(filesBelow(path), Object.keys(files).filter((name) => !name.startsWith("consolidated")).sort());
    assert.equal((await pull("org/m")).fetched, false);
    Deno.removeSync(join(path, map.b));
    assert.equal((await pull("org/m")).fetched, false, "its blob is still there");
    assert.ok(filesBelow(path).includes(map.b));
  });
});

Deno.test("of a GGUF repository one file comes, with all its parts", async () => {
  const files = {
    "Q8_0/m-Q8_0-00001-of-00002.gguf": noise(150_000, 8),
    "Q8_0/m-Q8_0-00002-of-00002.gguf": noise(5000, 9),
    "m-Q4_K_M.gguf": noise(70_000, 10),
    "mmproj-F16.gguf": noise(6000, 11),
  };
  await place({ "org/g": { files } }, async ({ pull }) => {
    const one = await pull("org/g");
    assert.match(one.path, /snapshots\/[0-9a-f]{40}\/m-Q4_K_M\.gguf$/);
    assert.deepEqual(Deno.readFileSync(one.path), files["m-Q4_K_M.gguf"]);
    const split = await pull("org/g:q8_0");
    assert.match(split.path, /Q8_0\/m-Q8_0-00001-of-00002\.gguf$/);
    assert.deepEqual(Deno.readFileSync(split.path.replace("00001", "00002")), files["Q8_0/m-Q8_0-00002-of-00002.gguf"]);
    assert.equal((await pull("org/g/m-Q4_K_M.gguf")).path, one.path);
    assert.match(await refusal(pull("org/g:Q2_K")), /org\/g has no Q2_K \| There are: .*Q8_0 \(155\.0 kB\), Q4_K_M/);
  });
});

Deno.test("names in a listing that lead out of the folder are refused, and nothing is written", async () => {
  for (
    const evil of ["../../x-Q4_K_M.gguf", "/tmp/x-Q4_K_M.gguf", "..\\x-Q4_K_M.gguf", "C:x-Q4_K_M.gguf", "con.gguf"]
  ) {
    await place({ "org/g": { files: { "m.gguf": noise(7000, 12) } } }, async ({ hub, cacheDir, pull }) => {
      hub.renamed["m.gguf"] = evil;
      assert.match(await refusal(pull("org/g")), /lists a file named ".*, which could end up anywhere/, evil);
      assert.deepEqual(filesBelow(cacheDir).filter((path) => !path.startsWith(".locks")), []);
    });
  }
});

Deno.test("a disk without room is said before anything large is fetched", async () => {
  await place({ "org/m": model }, async ({ hub, pull }) => {
    const says = await refusal(pull("org/m", { freeBytes: () => 200_000 }));
    assert.match(says, /^org\/m needs 300\.0 kB more in .*, and 200\.0 kB are free \| .*HF_HUB_CACHE/);
    assert.ok(!hub.log.some((line) => line.includes("model.safetensors")));
  });
});

Deno.test("HF_HUB_OFFLINE: what is cached is taken, what is not is refused, and nobody is asked", async () => {
  await place({ "org/m": model }, async ({ hub, cacheDir, pull }) => {
    const offline = { hub: { endpoint: hub.endpoint, cacheDir, offline: "HF_HUB_OFFLINE" } };
    assert.match(await refusal(pull("org/m", offline)), /org\/m is not in .*, and HF_HUB_OFFLINE forbids to fetch it/);
    assert.deepEqual(hub.log, []);
    const { path } = await pull("org/m");
    const requests = hub.log.length;
    assert.deepEqual(await pull("org/m", { ...offline, update: true }), { path, fetched: false });
    assert.match(await refusal(pull("org/m", { ...offline, check: true })), /Cannot check org\/m/);
    assert.equal(hub.log.length, requests);
  });
});

Deno.test("a hub that cannot be reached: what is cached is taken, and that is said", async () => {
  await place({ "org/m": model }, async ({ hub, notes, pull }) => {
    hub.apiFault = () => ({ status: 503 });
    assert.match(await refusal(pull("org/m")), /answers 503 \| Run it again later/);
    hub.apiFault = undefined;
    const { path } = await pull("org/m");
    hub.apiFault = () => ({ status: 503 });
    assert.deepEqual(await pull("org/m", { update: true }), { path, fetched: false });
    assert.match(notes.at(-1)!, /answers 503; taking what is cached/);
  });
});

Deno.test("what answers as no hub does is called that", async () => {
  await place({ "org/m": model }, async ({ hub, pull }) => {
    for (const body of ["<html>log in</html>", "[]", '{"sha": "../../x"}']) {
      hub.apiAnswer = body;
      assert.match(await refusal(pull("org/m")), /does not answer as a model hub does/, body);
    }
  });
});

Deno.test("a cache that other tools wrote is used as it is", async () => {
  await place({ "org/m": model }, async ({ hub, cacheDir, pull }) => {
    const root = join(cacheDir, "models--org--m"), commit = "0123456789".repeat(4);
    Deno.mkdirSync(join(root, "refs"), { recursive: true });
    Deno.writeTextFileSync(join(root, "refs", "main"), commit);
    const snapshot = join(root, "snapshots", commit);
    Deno.mkdirSync(snapshot, { recursive: true });
    for (const name of ["config.json", "tokenizer.json"]) Deno.writeTextFileSync(join(snapshot, name), "{}");
    // A link to bytes that are not there, as an interrupted fetch may leave.
    Deno.symlinkSync("../../blobs/none", join(snapshot, "model.safetensors"));
    assert.equal((await pull("org/m")).path, join(root, "snapshots", hub.commit("org/m")));
    Deno.writeTextFileSync(join(root, "refs", "main"), commit);
    Deno.removeSync(join(snapshot, "model.safetensors"));
    Deno.writeTextFileSync(join(snapshot, "model.safetensors"), "as files where there are no links");
    const requests = hub.log.length;
    assert.deepEqual(await pull("org/m"), { path: snapshot, fetched: false });
    assert.equal(hub.log.length, requests);
  });
});

Deno.test("two at once: one fetches, the other waits and finds it", async () => {
  await place({ "org/m": model }, async ({ hub, notes, pull }) => {
    const [a, b] = await Promise.all([pull("org/m"), pull("org/m")]);
    assert.equal(a.path, b.path);
    assert.deepEqual([a.fetched, b.fetched].sort(), [false, true]);
    assert.ok(notes.some((text) => /another ftl is fetching it, waiting/.test(text)));
    assert.ok(hub.sent() < 1.2 * weights.length, `${hub.sent()}`);
  });
});

Deno.test("check reads what is cached, and fetches what is damaged again", async () => {
  await place({ "org/m": model }, async ({ hub, notes, pull }) => {
    const { path } = await pull("org/m");
    assert.deepEqual(await pull("org/m", { check: true }), { path, fetched: false });
    const file = await Deno.open(join(path, "model.safetensors"), { write: true });
    await file.write(new Uint8Array([1, 2, 3]));
    file.close();
    const before = hub.sent();
    assert.equal((await pull("org/m")).fetched, false, "its size is right");
    assert.deepEqual(await pull("org/m", { check: true }), { path, fetched: true });
    assert.ok(notes.includes("model.safetensors is damaged: fetching it again"));
    assert.equal(hub.sent() - before, weights.length);
    assert.deepEqual(Deno.readFileSync(join(path, "model.safetensors")), weights);
  });
});
