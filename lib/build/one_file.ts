/**
 * Files in one executable: a script that unpacks itself, and behind it a compressed archive. The same files give the same
 * bytes: the archive holds no times, owners or rights of the machine it was made on.
 */
import { constants, crc32, deflateRawSync, gzipSync } from "node:zlib";
import { Buffer } from "node:buffer";
import { Zip, type ZipInputFile } from "fflate";
import { createTar } from "nanotar";
import windowsStub from "./stub.cmd" with { type: "text" };
import unixStub from "./stub.sh" with { type: "text" };
import type { ProgramFile } from "./platforms.ts";
import { sha256 } from "./sbom.ts";
import { startFlags } from "./start_flags.ts";

const level = constants.Z_BEST_COMPRESSION;

/** The bytes of the file. Its `key`, of the archive's bytes, names the folder that it unpacks to. */
export function oneFile(
  files: ProgramFile[],
  { version, system }: { version: string; system: "windows" | "unix" },
): Uint8Array {
  const sorted = files.toSorted((a, b) => a.name < b.name ? -1 : 1);
  const archive = system === "windows" ? zipOf(sorted) : gzipSync(tarOf(sorted), { level });
  const values = {
    VERSION: version,
    KEY: sha256(archive).slice(0, 16),
    MEGABYTES: String(megabytes(files)),
    FLAGS: startFlags.join(" "),
    LINES: String(unixStub.split("\n").length),
  };
  const stub = (system === "windows" ? windowsStub.replaceAll("\n", "\r\n") : unixStub)
    .replace(/@(VERSION|KEY|MEGABYTES|FLAGS|LINES)@/g, (_, name: keyof typeof values) => values[name]);
  // The stub names the size of the file that it is a part of: filled in again until it is right.
  const fill = (size: number) => new TextEncoder().encode(stub.replaceAll("@SIZE@", String(size + archive.length)));
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

/**
 * For Windows, whose tar.exe reads ZIP too: a ZIP is found from its end, so that the file as a whole is one, whatever
 * stands before it. Of 1980, where the time of this format begins.
 */
function zipOf(files: ProgramFile[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const zip = new Zip((error, part) => {
    if (error) throw error;
    parts.push(part);
  });
  for (const { name, bytes } of files) {
    const entry: ZipInputFile = {
      filename: name,
      size: bytes.length,
      crc: crc32(bytes),
      compression: 8,
      mtime: new Date(1980, 0, 1),
    };
    zip.add(entry);
    entry.ondata!(null, new Uint8Array(deflateRawSync(bytes, { level })), true);
  }
  zip.end();
  return new Uint8Array(Buffer.concat(parts));
}

/** For other systems: before the files their folders, all of user 0 and of 1970. */
function tarOf(files: ProgramFile[]): Uint8Array {
  const folders = new Set(files.flatMap(({ name }) => {
    const steps = name.split("/").slice(0, -1);
    return steps.map((_, i) => steps.slice(0, i + 1).join("/") + "/");
  }));
  const long = files.find(({ name }) => name.length > 99);
  if (long) throw new Error(`${long.name}: the archive's format has room for names of 99 characters`);
  const attributes = { mtime: 0, uid: 0, gid: 0 };
  return createTar([
    ...[...folders].sort().map((name) => ({ name, attrs: { ...attributes, mode: "755" } })),
    ...files.map(({ name, bytes, executable }) => ({
      name,
      data: bytes,
      attrs: { ...attributes, mode: executable ? "755" : "644" },
    })),
  ]);
}
