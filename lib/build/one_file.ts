/**
 * Files in one executable: a script that unpacks itself, and behind it a compressed archive. The same files give the same
 * bytes: the archive holds no times, owners or rights of the machine it was made on.
 */
import { constants, gzipSync } from "node:zlib";
import { createTar } from "nanotar";
import windowsStub from "./stub.cmd" with { type: "text" };
import unixStub from "./stub.sh" with { type: "text" };
import type { ProgramFile } from "./platforms.ts";
import { sha256 } from "./sbom.ts";

/** The bytes of the file. `key` names the folder that it unpacks to. */
export function oneFile(
  files: ProgramFile[],
  { version, system }: { version: string; system: "windows" | "unix" },
): Uint8Array {
  const archive = gzipSync(tarOf(files), { level: constants.Z_BEST_COMPRESSION });
  const values = { VERSION: version, KEY: sha256(archive).slice(0, 16), MEGABYTES: String(megabytes(files)) };
  const stub = (system === "windows" ? windowsStub.replaceAll("\n", "\r\n") : unixStub)
    .replace(/@(VERSION|KEY|MEGABYTES)@/g, (_, name: keyof typeof values) => values[name])
    .replaceAll("@LINES@", String(unixStub.split("\n").length));
  // The stub names its own size and the file's: filled in again until they are right.
  const fill = (size: number) =>
    new TextEncoder().encode(
      stub.replaceAll("@HEAD@", String(size)).replaceAll("@SIZE@", String(size + archive.length)),
    );
  let head = fill(0);
  while (head.length !== fill(head.length).length) head = fill(head.length);
  head = fill(head.length);
  const whole = new Uint8Array(head.length + archive.length);
  whole.set(head);
  whole.set(archive, head.length);
  return whole;
}

/** What it takes unpacked, rounded up to tens of megabytes. */
function megabytes(files: ProgramFile[]): number {
  return 10 * Math.ceil(files.reduce((sum, { bytes }) => sum + bytes.length, 0) / 1e7);
}

/** Files in the order of their names and before them their folders, all of user 0 and of 1970. */
function tarOf(files: ProgramFile[]): Uint8Array {
  const sorted = files.toSorted((a, b) => a.name < b.name ? -1 : 1);
  const folders = new Set(sorted.flatMap(({ name }) => {
    const steps = name.split("/").slice(0, -1);
    return steps.map((_, i) => steps.slice(0, i + 1).join("/") + "/");
  }));
  const long = sorted.find(({ name }) => name.length > 99);
  if (long) throw new Error(`${long.name}: the archive's format has room for names of 99 characters`);
  const attributes = { mtime: 0, uid: 0, gid: 0 };
  return createTar([
    ...[...folders].sort().map((name) => ({ name, attrs: { ...attributes, mode: "755" } })),
    ...sorted.map(({ name, bytes, executable }) => ({
      name,
      data: bytes,
      attrs: { ...attributes, mode: executable ? "755" : "644" },
    })),
  ]);
}
