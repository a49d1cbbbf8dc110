import assert from "node:assert/strict";
import { lockFolder } from "../../lib/files/lock.ts";
import { assertRefused } from "../helpers/bytes.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

Deno.test("lockFolder() refuses a second lock, naming the owner, until the first is released", async () => {
  await inTempFolder((dir) => {
    const first = lockFolder(dir);
    assertRefused(
      () => lockFolder(dir),
      new RegExp(`process ${Deno.pid} on ${Deno.hostname()} since \\d{4}-.* is writing to it`),
    );
    first.release();
    first.release();
    assert.deepEqual([...Deno.readDirSync(dir)], []);
    lockFolder(dir).release();
  });
});

Deno.test("lockFolder() refuses a missing folder", async () => {
  await inTempFolder((dir) => {
    assertRefused(() => lockFolder(`${dir}/missing`), /Cannot use the folder .*missing: no such file/);
  });
});

Deno.test("lockFolder() takes over from a process that was killed, whatever it left in the file", async () => {
  await inTempFolder(async (dir) => {
    const module = new URL("../../lib/files/lock.ts", import.meta.url).href;
    const code = `const { lockFolder } = await import(${JSON.stringify(module)});
      lockFolder(${JSON.stringify(dir)}); console.log("locked"); setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-config", code],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    assertRefused(
      () => lockFolder(dir),
      new RegExp(`process ${child.pid} on ${Deno.hostname()} since .* is writing to it`),
    );
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    assert.equal([...Deno.readDirSync(dir)].length, 1, "the killed process left its file");
    lockFolder(dir).release();
  });
});
