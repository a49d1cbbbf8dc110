/**
 * The one file for Windows x64, run on a Linux by wine 10 (Debian 13: apt-get install wine64):
 *
 *   deno task build --target windows-x64
 *   deno run -A tests/platforms/windows_x64.ts ftl-windows-x64.cmd tar.exe
 *
 * Windows' tar.exe is bsdtar, which wine lacks: Debian's source package libarchive makes it with mingw-w64 (apt-get
 * install gcc-mingw-w64-x86-64-win32 libz-mingw-w64-dev cmake; cmake -DCMAKE_SYSTEM_NAME=Windows
 * -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc-win32 -DCMAKE_FIND_ROOT_PATH=/usr/x86_64-w64-mingw32 -DENABLE_TEST=OFF
 * -DENABLE_OPENSSL=OFF -DENABLE_CNG=OFF -DBUILD_SHARED_LIBS=OFF; make bsdtar). Takes a minute.
 */
import assert from "node:assert/strict";
import { chores, lay } from "./chores.ts";

async function main(file: string, tar: string): Promise<void> {
  const folder = Deno.makeTempDirSync(), desk = `${folder}/Zoë's desk & (x86)`;
  const env = {
    WINEPREFIX: `${folder}/prefix`,
    WINEDEBUG: "-all",
    FTL_CACHE: "C:\\Zoë caché 漢字",
    LC_ALL: "C.UTF-8",
    NO_COLOR: "1",
  };
  const wine = (args: string[]) =>
    new Deno.Command("wine", { args, cwd: desk, env, stdin: "null", stdout: "piped", stderr: "piped" });
  let calls = 0;
  // cmd's own rules of quoting hold in a batch file, and those of no program between.
  const ftl = (args: string[]) => {
    const batch = `call${++calls}.bat`;
    Deno.writeTextFileSync(`${desk}/${batch}`, `@ftl ${args.map((arg) => `"${arg}"`).join(" ")}\r\n`);
    return wine(["cmd", "/c", batch]);
  };
  try {
    Deno.mkdirSync(desk);
    lay(desk);
    await wine(["wineboot", "-i"]).output();
    Deno.copyFileSync(tar, `${folder}/prefix/drive_c/windows/system32/tar.exe`);

    Deno.copyFileSync(file, `${desk}/cut.cmd`);
    Deno.truncateSync(`${desk}/cut.cmd`, 20_000_000);
    const cut = await wine(["cmd", "/c", "cut.cmd", "--version"]).output();
    assert.equal(cut.code, 1);
    assert.match(new TextDecoder().decode(cut.stderr), /is broken: it has 20000000 bytes/);

    Deno.copyFileSync(file, `${desk}/ftl.cmd`);
    const both = await Promise.all([ftl(["--version"]).output(), ftl(["--version"]).output()]);
    for (const { code, stdout } of both) {
      assert.equal(code, 0);
      assert.match(new TextDecoder().decode(stdout), /^ftl \d/);
    }
    const unpacked = [...Deno.readDirSync(`${folder}/prefix/drive_c/Zoë caché 漢字`)].map(({ name }) => name);
    assert.match(unpacked.join(), /^app-[0-9a-f]{16}$/);
    assert.equal((await ftl(["nonsense"]).output()).code, 2);
    await chores(ftl);
  } finally {
    await new Deno.Command("wineserver", { args: ["-k"], env }).output();
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) await main(Deno.args[0], Deno.args[1]);
