/** What the caches are said to hold, and that removing takes exactly that. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../lib/errors.ts";
import { type CachedRepo, removeRepo, scanHubCache, scanOwnCache } from "../../lib/hub/cached_models.ts";
import { tryLockRepo } from "../../lib/hub/repo_lock.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const commit = "0123456789".repeat(4);

/** Writes a file of `bytes` bytes that a disk really holds. */
function write(folder: string, path: string, bytes = 5000): void {
  Deno.mkdirSync(join(folder, path, ".."), { recursive: true });
  Deno.writeFileSync(join(folder, path), new Uint8Array(bytes).fill(1));
}

function link(folder: string, path: string, to: string): void {
  Deno.mkdirSync(join(folder, path, ".."), { recursive: true });
  Deno.symlinkSync(to, join(folder, path));
}

/** A cache with a model, a GGUF repository, a dataset, and what is none of these. */
function makeCache(folder: string): void {
  for (const name of ["config.json", "model.safetensors"]) {
    write(folder, `models--org--m/blobs/${name}`);
    link(folder, `models--org--m/snapshots/${commit}/${name}`, `../../blobs/${name}`);
  }
  write(folder, "models--org--m/blobs/abc.ftl.incomplete", 3000);
  for (
    const name of [
      "m-Q8_0.gguf",
      "Q4_0/m-Q4_0-00001-of-00002.gguf",
      "Q4_0/m-Q4_0-00002-of-00002.gguf",
      "x-00001-of-00002.gguf",
    ]
  ) {
    write(folder, `models--org--g/snapshots/${commit}/${name}`, 100);
  }
  write(folder, "datasets--org--rows/blobs/d", 700);
  write(folder, "version.txt", 1);
  write(folder, ".locks/models--org--m/ftl.lock", 0);
}

const named = (repos: CachedRepo[], name: string) => repos.find((repo) => repo.name === name)!;

Deno.test("scanHubCache() tells names, sizes without counting links, and the models in each", async () => {
  await inTempFolder((folder) => {
    makeCache(folder);
    const repos = scanHubCache(folder);
    assert.deepEqual(repos.map(({ name, kind, bytes, unfinishedBytes }) => ({ name, kind, bytes, unfinishedBytes })), [
      { name: "datasets/org/rows", kind: "dataset", bytes: 700, unfinishedBytes: 0 },
      { name: "org/g", kind: "model", bytes: 400, unfinishedBytes: 0 },
      { name: "org/m", kind: "model", bytes: 13_000, unfinishedBytes: 3000 },
    ]);
    const at = (name: string) => join(folder, "models--org--g", "snapshots", commit, name);
    assert.deepEqual(named(repos, "org/g").models, [at("Q4_0/m-Q4_0-00001-of-00002.gguf"), at("m-Q8_0.gguf")]);
    assert.deepEqual(named(repos, "org/m").models, [join(folder, "models--org--m", "snapshots", commit)]);
    assert.ok(repos.every(({ modified, used }) => Math.abs(Date.now() - modified) < 60_000 && used >= modified));
  });
});

Deno.test("a folder that is not there holds nothing", () => {
  assert.deepEqual(scanHubCache("/nowhere/at/all"), []);
  assert.deepEqual(scanOwnCache("/nowhere/at/all"), []);
});

Deno.test("scanOwnCache() tells the models that ftl keeps by short name", async () => {
  await inTempFolder((folder) => {
    write(folder, "tiny/tiny.gguf", 900);
    write(folder, "tiny/tiny.gguf.sha256", 80);
    const [{ name, bytes, models }] = scanOwnCache(folder);
    assert.deepEqual({ name, bytes, models }, {
      name: "tiny",
      bytes: 980,
      models: [join(folder, "tiny", "tiny.gguf")],
    });
  });
});

Deno.test("removeRepo() takes one repository and its locks, and nothing that links lead to", async () => {
  await inTempFolder((outer) => {
    const folder = join(outer, "hub");
    makeCache(folder);
    write(outer, "precious/file");
    link(folder, "models--org--m/blobs/shared", join(outer, "precious", "file"));
    link(folder, "models--org--m/more", join(outer, "precious"));
    const before = filesBelow(folder);
    assert.equal(removeRepo(named(scanHubCache(folder), "org/m")), 13_000);
    assert.deepEqual(filesBelow(folder), before.filter((path) => !path.includes("models--org--m")));
    assert.deepEqual(filesBelow(join(outer, "precious")), ["file"]);
  });
});

Deno.test("removeRepo() refuses a repository that is a link, and one that is being fetched", async () => {
  await inTempFolder((outer) => {
    const folder = join(outer, "hub");
    makeCache(folder);
    const repo = named(scanHubCache(folder), "org/m");
    const lock = tryLockRepo(repo.folder)!;
    // Another handle on the lock, as another process has one.
    assert.throws(() => removeRepo(repo), (error) => error instanceof UserError && /being fetched/.test(error.message));
    lock.release();
    Deno.renameSync(repo.folder, join(outer, "elsewhere"));
    Deno.symlinkSync(join(outer, "elsewhere"), repo.folder);
    assert.equal(named(scanHubCache(folder), "org/m"), undefined, "links are not listed");
    assert.throws(() => removeRepo(repo), (error) => error instanceof UserError && /is a link to/.test(error.message));
    assert.ok(filesBelow(join(outer, "elsewhere")).length > 3);
  });
});
