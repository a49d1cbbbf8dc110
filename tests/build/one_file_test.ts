/** The file that unpacks itself: its archive, its stubs' numbers, and that it holds nothing of the machine it was made on. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { parseTar } from "nanotar";
import { oneFile } from "../../lib/build/one_file.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const files = [
  { name: "main.js", bytes: bytes("main") },
  { name: "node_modules/webgpu/index.js", bytes: bytes("index") },
  { name: "deno", bytes: new Uint8Array(3_000_000).map((_, i) => i * i), executable: true },
  { name: "empty.js", bytes: new Uint8Array(0) },
];

/** The text before the archive, and the archive's own files. */
function parts(whole: Uint8Array) {
  const start = whole.findIndex((byte, i) => byte === 0x1f && whole[i + 1] === 0x8b);
  const tar = new Uint8Array(gunzipSync(whole.subarray(start)));
  return { start, head: new TextDecoder().decode(whole.subarray(0, start)), files: parseTar(tar) };
}

for (const system of ["unix", "windows"] as const) {
  Deno.test(`oneFile() for ${system} says its own size and where its archive begins`, () => {
    const whole = oneFile(files, { version: "ftl 1.2.3", system }), { head, start } = parts(whole);
    assert.ok(!/@[A-Z]+@/.test(head), head);
    assert.ok(head.includes("ftl 1.2.3") && head.includes(String(whole.length)), head);
    if (system === "unix") assert.ok(head.includes(`tail -n +${head.split("\n").length} `), "lines before the archive");
    else {
      assert.ok(head.includes(`Seek(${start}, 'Begin')`), head);
      assert.equal(head.replaceAll("\r\n", "").includes("\n"), false, "every line ends as Windows wants it");
    }
    assert.match(head, /app-[0-9a-f]{16}|key=[0-9a-f]{16}/);
  });
}

Deno.test("oneFile() packs the files in the order of their names, as nobody's and of no time, folders first", () => {
  const { files: packed } = parts(oneFile(files.toReversed(), { version: "ftl 1.2.3", system: "unix" }));
  assert.deepEqual(packed.map(({ name }) => name), [
    ...["node_modules/", "node_modules/webgpu/", "deno", "empty.js", "main.js", "node_modules/webgpu/index.js"],
  ]);
  for (const { name, type, attrs } of packed) {
    const mode = type === "directory" || name === "deno" ? 0o755 : 0o644;
    assert.deepEqual([parseInt(attrs!.mode!, 8), attrs!.uid, attrs!.gid, attrs!.mtime], [mode, 0, 0, 0], name);
  }
  const deno = packed.find(({ name }) => name === "deno")!;
  assert.deepEqual(new Uint8Array(deno.data!), files[2].bytes);
});

Deno.test("oneFile() gives the same bytes for the same files, others for others", () => {
  const make = (list: typeof files) => oneFile(list, { version: "ftl 1.2.3", system: "unix" });
  assert.deepEqual(make(files.toReversed()), make(files));
  assert.notDeepEqual(make([...files.slice(1), { name: "main.js", bytes: bytes("other") }]), make(files));
});

Deno.test("a name too long for the archive is refused, not cut", () => {
  const long = { name: "a/".repeat(50) + "b", bytes: bytes("") };
  assert.throws(() => oneFile([long], { version: "", system: "unix" }), /room for names of 99/);
});
