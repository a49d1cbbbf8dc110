import assert from "node:assert/strict";
import { openFile } from "../../lib/files/file_source.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { assertRefused } from "../helpers/bytes.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

Deno.test("openFile() and bytesSource() read any range, and refuse ranges outside the data", async () => {
  await inTempFolder((dir) => {
    const bytes = Uint8Array.from({ length: 257 }, (_, i) => i & 255), path = `${dir}/f`;
    Deno.writeFileSync(path, bytes);
    const file = openFile(path);
    for (const source of [file, bytesSource(bytes, path)]) {
      assert.equal(source.size, 257);
      assert.equal(source.name, path);
      for (const [offset, length] of [[0, 257], [256, 1], [257, 0], [0, 0], [100, 31], [3, 33]]) {
        assert.deepEqual([...source.read(offset, length)], [...bytes.subarray(offset, offset + length)]);
      }
      for (const [offset, length] of [[0, 258], [257, 1], [-1, 1], [0, -1], [0.5, 1], [2 ** 53, 1], [NaN, 1]]) {
        assertRefused(
          () => source.read(offset, length),
          /Cannot read .*needs .* bytes at offset/,
          `${offset}+${length}`,
        );
      }
    }
    file.close();
    file.close();
    assert.throws(() => file.read(0, 1), /is closed/);
  });
});

Deno.test("openFile() refuses a missing file, a directory, a path through a file, and a file it may not read", async () => {
  await inTempFolder((dir) => {
    assertRefused(() => openFile(`${dir}/missing`), /Cannot read .*missing: no such file/);
    assertRefused(() => openFile(dir), /Cannot read .*: it is a directory/);
    Deno.writeTextFileSync(`${dir}/file`, "x");
    assertRefused(() => openFile(`${dir}/file/below`), /part of the path is a file/);
    if (Deno.build.os !== "windows" && Deno.uid() !== 0) {
      Deno.chmodSync(`${dir}/file`, 0);
      assertRefused(() => openFile(`${dir}/file`), /permission denied/);
    }
  });
});

Deno.test("openFile() says so when the file shrinks under it", async () => {
  await inTempFolder((dir) => {
    Deno.writeFileSync(`${dir}/f`, new Uint8Array(100));
    const source = openFile(`${dir}/f`);
    Deno.truncateSync(`${dir}/f`, 60);
    assertRefused(() => source.read(50, 50), /it ended at offset 60, its size was 100/);
    assert.equal(source.read(0, 60).length, 60);
    source.close();
  });
});
