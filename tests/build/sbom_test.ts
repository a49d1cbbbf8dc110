/** The bill of materials as CycloneDX 1.6 wants it. */
import assert from "node:assert/strict";
import type { Component } from "../../lib/build/inventory.ts";
import { billOfMaterials, sha256 } from "../../lib/build/sbom.ts";

const digest = "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
const components: Component[] = [
  { name: "ftl", version: "1.2.3", licence: "Apache-2.0", needs: [], text: "" },
  {
    name: "@a/b",
    version: "1.0.0",
    licence: "MIT OR CC0-1.0",
    purl: "pkg:npm/%40a/b@1.0.0",
    integrity: `sha512-${digest}`,
    needs: ["c@2.0.0", "not-inside@1.0.0"],
    text: "",
  },
  { name: "c", version: "2.0.0", licence: "ISC", needs: [], text: "" },
];
const natives = [{ name: "deno", bytes: new TextEncoder().encode("deno") }];
const built = {
  file: "ftl",
  sha256: sha256("file"),
  platform: "linux-x64",
  commit: { id: "0123456789", date: "2026-01-02T03:04:05Z" },
};

Deno.test("billOfMaterials() lists components with licence, hash and address, and native files with theirs", () => {
  const bill = JSON.parse(billOfMaterials(components, { natives, built }));
  assert.deepEqual([bill.bomFormat, bill.specVersion, bill.version], ["CycloneDX", "1.6", 1]);
  assert.equal(bill.metadata.timestamp, built.commit.date);
  assert.equal(bill.metadata.component.hashes[0].content, built.sha256);
  assert.deepEqual(bill.components, [
    {
      "bom-ref": "@a/b@1.0.0",
      type: "library",
      name: "@a/b",
      version: "1.0.0",
      // sha512 of nothing.
      hashes: [{ alg: "SHA-512", content: bill.components[0].hashes[0].content }],
      licenses: [{ expression: "MIT OR CC0-1.0" }],
      purl: "pkg:npm/%40a/b@1.0.0",
    },
    { "bom-ref": "c@2.0.0", type: "library", name: "c", version: "2.0.0", licenses: [{ license: { id: "ISC" } }] },
    { "bom-ref": "file:deno", type: "file", name: "deno", hashes: [{ alg: "SHA-256", content: sha256("deno") }] },
  ]);
  assert.match(bill.components[0].hashes[0].content, /^cf83e1357eefb8bdf1542850d66d8007[0-9a-f]{96}$/);
  assert.deepEqual(bill.dependencies, [
    { ref: "ftl@1.2.3", dependsOn: ["@a/b@1.0.0", "file:deno"] },
    { ref: "@a/b@1.0.0", dependsOn: ["c@2.0.0"] },
    { ref: "c@2.0.0", dependsOn: [] },
  ]);
});

Deno.test("billOfMaterials() numbers itself by what it lists: the same twice, another for another build", () => {
  const serial = (hash: string) =>
    JSON.parse(billOfMaterials(components, { natives, built: { ...built, sha256: hash } })).serialNumber;
  assert.match(serial("a"), /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(serial("a"), serial("a"));
  assert.notEqual(serial("a"), serial("b"));
});
