import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { requireWritable, writeAllAtomic, writeAtomic, writeAtomicStreams } from "../../lib/files/atomic.ts";
import { fileError } from "../../lib/files/file_error.ts";
import { assertRefused, assertUserError } from "../helpers/bytes.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const names = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();

Deno.test("writeAtomic() writes bytes and lazy chunks, and replaces what was there", async () => {
  await inTempFolder((dir) => {
    const path = `${dir}/f`;
    writeAtomic(path, new Uint8Array([1, 2, 3]));
    assert.deepEqual([...Deno.readFileSync(path)], [1, 2, 3]);
    writeAtomic(
      path,
      (function* () {
        assert.deepEqual([...Deno.readFileSync(path)], [1, 2, 3], "the old file stands until the end");
        yield new Uint8Array([4]);
        yield new Uint8Array(0);
        yield new Uint8Array(100_000).fill(5);
        assert.deepEqual([...Deno.readFileSync(path)], [1, 2, 3], "the old file stands until the end");
      })(),
    );
    const bytes = Deno.readFileSync(path);
    assert.equal(bytes.length, 100_001);
    assert.deepEqual([bytes[0], bytes[1], bytes[100_000]], [4, 5, 5]);
    assert.deepEqual(names(dir), ["f"]);
  });
});

Deno.test("writeAtomic() leaves the old file and nothing else when the producer fails at any chunk", async () => {
  await inTempFolder((dir) => {
    const path = `${dir}/f`;
    Deno.writeTextFileSync(path, "old");
    for (const failAt of [0, 1, 2]) {
      const chunks = function* () {
        for (let i = 0; i < 3; i++) {
          if (i === failAt) throw new RangeError("the producer's own");
          yield new Uint8Array(10);
        }
      };
      assert.throws(() => writeAtomic(path, chunks()), { name: "RangeError", message: "the producer's own" });
      assert.equal(Deno.readTextFileSync(path), "old");
      assert.deepEqual(names(dir), ["f"]);
    }
  });
});

Deno.test("writeAllAtomic() shows none of its files before all are written, and none when one fails", async () => {
  await inTempFolder((dir) => {
    const files = (last: Iterable<Uint8Array>) => [
      { path: `${dir}/a`, chunks: [new Uint8Array([1])] },
      { path: `${dir}/b`, chunks: last },
    ];
    const failing = function* (): Iterable<Uint8Array> {
      yield new Uint8Array(10);
      assert.deepEqual(names(dir).filter((name) => !name.endsWith(".part")), []);
      throw new RangeError("the producer's own");
    };
    assert.throws(() => writeAllAtomic(files(failing())), { name: "RangeError" });
    assert.deepEqual(names(dir), []);
    writeAllAtomic(files([new Uint8Array([2])]));
    assert.deepEqual(["a", "b"].map((name) => [...Deno.readFileSync(`${dir}/${name}`)]), [[1], [2]]);
    assert.deepEqual(names(dir), ["a", "b"]);
  });
});

Deno.test("writeAtomicStreams() waits for its producer, and leaves nothing when that fails", async () => {
  await inTempFolder(async (dir) => {
    const paths = [`${dir}/f`, `${dir}/g`];
    await writeAtomicStreams(paths, async ([f, g]) => {
      f(new Uint8Array([1]));
      g(new Uint8Array([3]));
      await new Promise((resolve) => setTimeout(resolve, 1));
      assert.deepEqual(names(dir).filter((name) => !name.endsWith(".part")), []);
      f(new Uint8Array([2]));
    });
    assert.deepEqual(paths.map((path) => [...Deno.readFileSync(path)]), [[1, 2], [3]]);
    await assert.rejects(
      writeAtomicStreams([`${dir}/h`, `${dir}/i`], async ([h]) => {
        h(new Uint8Array([1]));
        await Promise.reject(new Error("late"));
      }),
      /late/,
    );
    await assert.rejects(writeAtomicStreams([`${dir}/h`, `${dir}/missing/i`], () => {}), /no such file/);
    assert.deepEqual(names(dir), ["f", "g"]);
  });
});

Deno.test("requireWritable() refuses what could not be written, and leaves nothing", async () => {
  await inTempFolder((dir) => {
    requireWritable(`${dir}/f`);
    Deno.writeTextFileSync(`${dir}/old`, "old");
    requireWritable(`${dir}/old`);
    assertRefused(() => requireWritable(dir), /Cannot write .*: it is a directory/);
    assertRefused(() => requireWritable(`${dir}/missing/f`), /Cannot write .*missing\/f: no such file/);
    assertRefused(() => requireWritable(`${dir}/${"n".repeat(300)}`), /the name is too long/);
    assert.deepEqual(names(dir), ["old"]);
    assert.equal(Deno.readTextFileSync(`${dir}/old`), "old");
  });
});

Deno.test("writeAtomic() of one path by two writers at once leaves one whole file", async () => {
  await inTempFolder(async (dir) => {
    const path = `${dir}/f`;
    const writer = (value: number) =>
      writeAtomicStreams([path], async ([write]) => {
        for (let i = 0; i < 5; i++) {
          write(new Uint8Array(10).fill(value));
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      });
    await Promise.all([writer(1), writer(2)]);
    assert.deepEqual(names(dir), ["f"]);
    const bytes = Deno.readFileSync(path);
    assert.equal(bytes.length, 50);
    assert.ok(bytes.every((byte) => byte === bytes[0]));
  });
});

Deno.test("writeAtomic() refuses folders that are missing, forbidden or no folders", async () => {
  await inTempFolder((dir) => {
    const bytes = new Uint8Array(1);
    assertRefused(() => writeAtomic(`${dir}/missing/f`, bytes), /Cannot write .*missing\/f: no such file/);
    Deno.writeTextFileSync(`${dir}/file`, "x");
    assertRefused(() => writeAtomic(`${dir}/file/f`, bytes), /part of the path is a file/);
    Deno.mkdirSync(`${dir}/folder`);
    assertRefused(() => writeAtomic(`${dir}/folder`, bytes), /Cannot write .*folder: it is a directory/);
    assert.deepEqual(names(dir), ["file", "folder"]);
    if (Deno.build.os !== "windows" && Deno.uid() !== 0) {
      Deno.chmodSync(dir, 0o500);
      assertRefused(() => writeAtomic(`${dir}/f`, bytes), /permission denied/);
    }
  });
});

Deno.test({
  name: "writeAtomic() on a full disk is a UserError and leaves the old file",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await inTempFolder(async (dir) => {
      // A process that may write files of 64 KiB only stands for the full disk: the write fails midway.
      const script = `${dir}/script.ts`, path = `${dir}/f`;
      Deno.writeTextFileSync(path, "old");
      Deno.writeTextFileSync(
        script,
        `import { writeAtomic } from ${JSON.stringify(new URL("../../lib/files/atomic.ts", import.meta.url).href)};
         try { writeAtomic(${JSON.stringify(path)}, new Uint8Array(1 << 20)); console.log("written"); }
         catch (error) { console.log(error.name + ": " + error.message); }`,
      );
      const { stdout } = await new Deno.Command("bash", {
        args: ["-c", `trap '' XFSZ; ulimit -f 64; exec "$0" run -A --no-config "$1"`, Deno.execPath(), script],
        stderr: "null",
      }).output();
      assert.match(
        new TextDecoder().decode(stdout),
        /^UserError: Cannot write .*\/f: the file system allows no file this large\n$/,
      );
      assert.equal(Deno.readTextFileSync(path), "old");
      assert.deepEqual(names(dir), ["f", "script.ts"]);
    });
  },
});

Deno.test("fileError() says what the system said, in one line, and passes other errors on", () => {
  const os = (message: string, code?: string) => Object.assign(new Error(message), code ? { code } : {});
  const cases: [Error, RegExp][] = [
    [os("No space left on device (os error 28)"), /disk is full/],
    [os("write failed", "ENOSPC"), /disk is full/],
    [os("There is not enough space on the disk. (os error 112)"), /disk is full/],
    [os("Disk quota exceeded (os error 122)"), /quota/],
    [os("Read-only file system (os error 30)"), /read-only/],
    [new Deno.errors.PermissionDenied("Permission denied (os error 13)"), /permission denied/],
    [os("File name too long (os error 36)", "ENAMETOOLONG"), /the name is too long/],
    [os("Directory not empty (os error 39)"), /something is written into it meanwhile/],
    [os("Too many open files (os error 24)"), /too many files are open/],
    [
      new Deno.errors.FilesystemLoop("Too many levels of symbolic links (os error 40)"),
      /a link .* leads back to itself/,
    ],
    [new Deno.errors.NotFound("No such file or directory (os error 2)"), /no such file/],
    [new Deno.errors.AlreadyExists("exists"), /exists already/],
  ];
  for (const [error, message] of cases) {
    const refused = fileError(error, { action: "write", path: "/x/y" });
    assertUserError(refused, error.message);
    assert.match(refused.message, message);
    assert.match(refused.message, /^Cannot write \/x\/y: /);
    assert.equal(refused.cause, error);
  }
  const hintOf = (error: Error, elsewhere?: string) => {
    const refused = fileError(error, { action: "write", path: "/x", elsewhere });
    assertUserError(refused, error.message);
    return refused.hint;
  };
  const full = os("full", "ENOSPC"), readOnly = os("read-only", "EROFS");
  assert.equal(hintOf(full), "Free some space or choose a folder on another disk, then run it again.");
  assert.equal(hintOf(readOnly), "Choose a folder on another disk.");
  assert.equal(hintOf(readOnly, "set FTL_CACHE to a folder"), "Set FTL_CACHE to a folder on another disk.");
  for (const other of [new Error("a bug"), new UserError("known"), "text"]) {
    assert.equal(fileError(other, { action: "write", path: "/x" }), other);
  }
});
