/**
 * What Linux tells in /dev, /proc and /sys. Deno reads there only for a program that holds every right, which none does
 * once it has given up the network. So what will be asked for is asked before (network.ts), and remembered here; a counter
 * stays open.
 */

const texts = new Map<string, string>(),
  folders = new Map<string, string[]>(),
  counters = new Map<string, Deno.FsFile>();

const isSystem = (path: string) => /^\/(dev|proc|sys)(\/|$)/.test(path);

/** The text of a file, a system's as it was when first asked for. Throws where it cannot be read. */
export function systemText(path: string): string {
  const text = texts.get(path) ?? Deno.readTextFileSync(path);
  if (isSystem(path)) texts.set(path, text);
  return text;
}

/** Names in a folder, a system's as they were when first asked for; none where it cannot be read. */
export function systemNames(folder: string): string[] {
  const known = folders.get(folder);
  if (known) return known;
  try {
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    if (isSystem(folder)) folders.set(folder, names);
    return names;
  } catch {
    return [];
  }
}

/** The number that a file holds now; null where it cannot be read or is none. */
export function systemCounter(path: string): number | null {
  try {
    const value = Number((isSystem(path) ? textOfOpen(path) : Deno.readTextFileSync(path)).trim());
    return Number.isFinite(value) ? value : null;
  } catch {
    return null;
  }
}

function textOfOpen(path: string): string {
  let file = counters.get(path);
  if (!file) counters.set(path, file = Deno.openSync(path));
  file.seekSync(0, Deno.SeekMode.Start);
  const bytes = new Uint8Array(64);
  return new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
}
