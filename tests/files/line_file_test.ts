/** Lines survive a disk that refuses: each is there whole, or not at all. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { openLineFile } from "../../lib/files/line_file.ts";
import { onFailingDisk, refusalAt } from "../helpers/failing_disk.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

Deno.test("openLineFile() appends whole lines only, whichever write fails, and goes on afterwards", async () => {
  await inTempFolder(async (dir) => {
    for (let at = 2; at < 12; at++) {
      const path = `${dir}/${at}.jsonl`, kept: string[] = [], refusal = { ...refusalAt(at), lasting: false };
      Deno.writeTextFileSync(path, "first\n");
      await onFailingDisk(dir, refusal, () => {
        const file = openLineFile(path), { writeSync } = Deno.FsFile.prototype;
        // Every write takes three bytes, so that lines are cut in their middle.
        Deno.FsFile.prototype.writeSync = function (bytes) {
          return writeSync.call(this, bytes.subarray(0, 3));
        };
        try {
          for (const line of ["one line\n", "another\n", "last\n"]) {
            try {
              file.append(line);
              kept.push(line);
            } catch (error) {
              assert.ok(error instanceof UserError && /: (the |permission denied)/.test(error.message), `${error}`);
            }
          }
        } finally {
          Deno.FsFile.prototype.writeSync = writeSync;
          file.close();
        }
      });
      assert.equal(Deno.readTextFileSync(path), ["first\n", ...kept].join(""), JSON.stringify(refusal));
      assert.ok(kept.length >= 2, JSON.stringify(refusal));
    }
  });
});
