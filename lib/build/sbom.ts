/**
 * The bill of materials of a build: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. The same program gives the same
 * bytes: its date is the commit's, its serial number is made of what it lists.
 */
import { createHash } from "node:crypto";
import type { Commit } from "./commit.ts";
import { type Component, idOf } from "./inventory.ts";
import type { ProgramFile } from "./platforms.ts";

export interface Built {
  /** Name of the program's file, and the sha256 of its bytes. */
  file: string;
  sha256: string;
  platform: string;
  commit?: Commit;
}

/** The text of the bill: the file, the components inside, and the executables and libraries by their own hashes. */
export function billOfMaterials(
  components: Component[],
  { natives, built }: { natives: ProgramFile[]; built: Built },
): string {
  const [ftl, ...others] = components;
  const listed = others.map((one) => ({
    "bom-ref": idOf(one),
    type: "library",
    name: one.name,
    version: one.version,
    ...one.integrity && { hashes: [{ alg: "SHA-512", content: hexOf(one.integrity) }] },
    licenses: licencesOf(one.licence),
    ...one.purl && { purl: one.purl },
  }));
  const files = natives.map(({ name, bytes }) => ({
    "bom-ref": `file:${name}`,
    type: "file",
    name,
    hashes: [{ alg: "SHA-256", content: sha256(bytes) }],
  }));
  const known = new Set(others.map(idOf));
  const depended = new Set(others.flatMap(({ needs }) => needs));
  const direct = others.map(idOf).filter((id) => !depended.has(id));
  const bill = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      ...built.commit && { timestamp: built.commit.date },
      component: {
        "bom-ref": idOf(ftl),
        type: "application",
        name: ftl.name,
        version: ftl.version,
        hashes: [{ alg: "SHA-256", content: built.sha256 }],
        licenses: licencesOf(ftl.licence),
        properties: [
          { name: "ftl:file", value: built.file },
          { name: "ftl:platform", value: built.platform },
          { name: "ftl:commit", value: built.commit?.id ?? "unknown" },
        ],
      },
    },
    components: [...listed, ...files],
    dependencies: [
      { ref: idOf(ftl), dependsOn: [...direct, ...files.map((file) => file["bom-ref"])] },
      ...others.map((one) => ({ ref: idOf(one), dependsOn: one.needs.filter((id) => known.has(id)) })),
    ],
  };
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(bill))}`;
  const { bomFormat, specVersion, ...rest } = bill;
  return JSON.stringify({ bomFormat, specVersion, serialNumber, ...rest }, null, 2) + "\n";
}

/** One identifier, or an expression of several. */
function licencesOf(licence: string): { license: { id: string } }[] | { expression: string }[] {
  return /\s/.test(licence) ? [{ expression: licence }] : [{ license: { id: licence } }];
}

/** "sha512-" and base64 -> hexadecimal digits. */
function hexOf(integrity: string): string {
  return Uint8Array.fromBase64(integrity.slice("sha512-".length)).toHex();
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A UUID of version 8 (RFC 9562) made of a text. */
function uuidOf(text: string): string {
  const digits = sha256(text);
  const variant = ((parseInt(digits[16], 16) & 3) | 8).toString(16);
  return [digits.slice(0, 8), digits.slice(8, 12), `8${digits.slice(13, 16)}`, variant + digits.slice(17, 20)]
    .concat(digits.slice(20, 32)).join("-");
}
