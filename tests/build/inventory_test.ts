/** Everything that main.ts reaches is locked by its hash and has a licence whose text is at hand. */
import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { idOf, inventory } from "../../lib/build/inventory.ts";

const root = new URL("../..", import.meta.url);

/**
 * Licences under which a program may be passed on with its notices alone: of what lies in it unchanged, the Mozilla
 * licence wants to be told where its source is, that of fonts that they are not sold by themselves.
 */
const permissive = new Set([
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-3-Clause",
  "CC0-1.0",
  "ISC",
  "MIT",
  "MPL-2.0",
  "OFL-1.1",
  "Unlicense",
]);

Deno.test("inventory() lists every package that main.ts reaches, and nothing that only tests need", async () => {
  const components = await inventory(), names = components.map(({ name }) => name);
  assert.deepEqual(names.slice(0, 4), ["ftl", "ftl sample rows", "Deno", "V8"]);
  for (const name of ["onnxruntime-node", "webgpu", "zod", "vega-util"]) assert.ok(names.includes(name), name);
  for (const name of ["fast-check", "playwright-core", "openai"]) assert.ok(!names.includes(name), name);
  assert.equal(new Set(components.map(idOf)).size, components.length);
  for (const { needs } of components) {
    for (const id of needs) assert.ok(components.some((one) => idOf(one) === id), id);
  }
});

Deno.test("every component has a permissive licence with its text, every package its hash", async () => {
  for (const { name, licence, text, purl, integrity } of await inventory()) {
    const parts = licence.replace(/[()]/g, "").split(/ AND | OR /);
    assert.deepEqual(parts.filter((part) => !permissive.has(part)), [], name);
    assert.match(text, /copyright|licen[cs]e|public domain|unlicense/i, name);
    assert.ok(text.length > 200, `${name}: ${text}`);
    if (purl?.startsWith("pkg:npm/")) assert.match(integrity ?? "", /^sha512-[\w+/]{86}==$/, name);
  }
});

Deno.test("the engines' notices are there whole", async () => {
  const components = await inventory();
  const textOf = (name: string) => components.find((one) => one.name === name)!.text;
  assert.match(textOf("onnxruntime-node"), /Copyright \(c\) Microsoft Corporation[\s\S]*protobuf/i);
  assert.match(textOf("webgpu"), /The Dawn & Tint Authors/);
  assert.match(textOf("Deno"), /the Deno authors/);
  assert.match(textOf("V8"), /the V8 project authors/);
});

Deno.test("deno.lock is complete: every package with a hash, and nothing is added by resolving the program", async () => {
  const { npm, workspace } = JSON.parse(Deno.readTextFileSync(new URL("deno.lock", root)));
  for (const [name, { integrity }] of Object.entries(npm as Record<string, { integrity?: string }>)) {
    assert.match(integrity ?? "", /^sha512-/, name);
  }
  const wanted = Object.values(manifest.imports).map((target) =>
    target.replace(/^npm:\/?(@?[^/@]+(\/[^@]+)?@[^/]+).*/, "npm:$1")
  );
  assert.deepEqual(workspace.dependencies.toSorted(), [...new Set(wanted)].sort());
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--frozen", "--quiet", "main.ts"],
    cwd: root,
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
});
