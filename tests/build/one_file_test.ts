/** The file that unpacks itself: its archive, its stubs' numbers, and that it holds nothing of the machine it was made on. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { unzipSync } from "fflate";
import { parseTar } from "nanotar";
import { oneFile } from "../../lib/build/one_file.ts";
import { startFlags } from "../../lib/build/start_flags.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const files = [
  { name: "main.js", bytes: bytes("main") },
  { name: "node_modules/webgpu/index.js", bytes: bytes("index") },
  { name: "deno", bytes: new Uint8Array(3_000_000).map((_, i) => i * i), executable: true },
  { name: "empty.js", bytes: new Uint8Array(0) },
];

/** The text before the archive, and the archive. */
function parts(whole: Uint8Array, system: "unix" | "windows" = "unix") {
  const [first, second] = system === "unix" ? [0x1f, 0x8b] : bytes("PK");
  const start = whole.findIndex((byte, i) => byte === first && whole[i + 1] === second);
  return { head: new TextDecoder().decode(whole.subarray(0, start)), archive: whole.subarray(start) };
}

const tarOf = (archive: Uint8Array) => parseTar(new Uint8Array(gunzipSync(archive)));

for (const system of ["unix", "windows"] as const) {
  Deno.test(`oneFile() for ${system} says its own size, and how Deno is started`, () => {
    const whole = oneFile(files, { version: "ftl 1.2.3", system }), { head } = parts(whole, system);
    assert.ok(!/@[A-Z]+@/.test(head), head);
    assert.ok(head.includes("ftl 1.2.3") && head.includes(String(whole.length)), head);
    assert.ok(head.includes(`run ${startFlags.join(" ")} "`), head);
    assert.match(head, /app-[0-9a-f]{16}|key=[0-9a-f]{16}/);
    if (system === "unix") assert.ok(head.includes(`tail -n +${head.split("\n").length} `), "lines before the archive");
    else assert.equal(head.replaceAll("\r\n", "").includes("\n"), false, "every line ends as Windows wants it");
  });
}

Deno.test("oneFile() for Windows is a ZIP of the files with a script before it", () => {
  const whole = oneFile(files.toReversed(), { version: "ftl 1.2.3", system: "windows" });
  const packed = unzipSync(parts(whole, "windows").archive);
  assert.deepEqual(Object.keys(packed), ["deno", "empty.js", "main.js", "node_modules/webgpu/index.js"]);
  for (const { name, bytes } of files) assert.deepEqual(packed[name], bytes, name);
});

Deno.test("the script for Windows never goes backward: cmd would look for the label through the whole file", () => {
  const lines = parts(oneFile(files, { version: "", system: "windows" }), "windows").head.split("\r\n");
  const jumps = lines.flatMap((line, at) =>
    [...line.matchAll(/\b(?:goto |call :)(\w+)/g)].filter(() => !line.startsWith("rem ")).map(([, label]) => ({
      label,
      at,
    }))
  );
  assert.ok(jumps.length > 5, `${jumps.length} jumps`);
  for (const { label, at } of jumps) assert.ok(lines.indexOf(`:${label}`) > at, `${lines[at]}, line ${at + 1}`);
});

Deno.test("oneFile() packs the files in the order of their names, as nobody's and of no time, folders first", () => {
  const packed = tarOf(parts(oneFile(files.toReversed(), { version: "ftl 1.2.3", system: "unix" })).archive);
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
  for (const system of ["unix", "windows"] as const) {
    const make = (list: typeof files) => oneFile(list, { version: "ftl 1.2.3", system });
    assert.deepEqual(make(files.toReversed()), make(files));
    assert.notDeepEqual(make([...files.slice(1), { name: "main.js", bytes: bytes("other") }]), make(files));
  }
});

Deno.test("a name too long for the archive is refused, not cut", () => {
  const long = { name: "a/".repeat(50) + "b", bytes: bytes("") };
  assert.throws(() => oneFile([long], { version: "", system: "unix" }), /room for names of 99/);
});
