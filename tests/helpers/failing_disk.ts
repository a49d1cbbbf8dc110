/**
 * A disk that refuses: the k-th operation that changes anything below a folder fails with what the system would say, or
 * that one and all that follow. It stands in for Deno's own functions, so it meets every write wherever it is made.
 */

/** Linux's numbers and texts, as Deno's errors have them. */
const causes = {
  ENOSPC: "No space left on device (os error 28)",
  EROFS: "Read-only file system (os error 30)",
  EIO: "Input/output error (os error 5)",
} as const;

export type Cause = keyof typeof causes;

export interface Refusal {
  /** Counted from 1; 0 for none. */
  at: number;
  cause: Cause;
  /** Whether everything after it fails too. */
  lasting: boolean;
}

/** Every way an operation fails, taken in turn by its number, so that all of them meet all kinds of operations. */
export function refusalAt(at: number): Refusal {
  const cause = (["ENOSPC", "EROFS", "EIO"] as const)[at % 3];
  return { at, cause, lasting: Math.floor(at / 3) % 2 === 0 };
}

/** Runs `body` on such a disk. Returns how many operations there were, and how `body` ended. */
export async function onFailingDisk<T>(
  folder: string,
  { at, cause, lasting }: Refusal,
  body: () => T | Promise<T>,
): Promise<{ operations: number; result?: T; error?: unknown }> {
  let operations = 0;
  const opened = new WeakSet<Deno.FsFile>();
  const operation = (name: string) => {
    operations++;
    // A full disk still lets go of what it has.
    if (cause === "ENOSPC" && /remove|truncate/.test(name)) return;
    if (at > 0 && (operations === at || (lasting && operations > at))) {
      throw Object.assign(new Error(`${causes[cause]}: ${name}`), { code: cause });
    }
  };
  const isBelow = (path: unknown) => String(path).startsWith(folder);
  const put: (() => void)[] = [];
  // deno-lint-ignore no-explicit-any
  const replace = (owner: any, name: string, change: (original: any) => unknown) => {
    const original = owner[name];
    owner[name] = change(original);
    put.push(() => owner[name] = original);
  };
  replace(Deno, "openSync", (original: typeof Deno.openSync) => (path: string, options: Deno.OpenOptions = {}) => {
    const changes = isBelow(path) && Boolean(options.write || options.append || options.create || options.createNew);
    if (changes) operation("open");
    const file = original(path, options);
    if (changes) opened.add(file);
    return file;
  });
  for (const name of ["mkdirSync", "renameSync", "removeSync", "truncateSync", "writeTextFileSync", "writeFileSync"]) {
    replace(Deno, name, (original: (...args: unknown[]) => unknown) => (...args: unknown[]) => {
      if (isBelow(args[0])) operation(name);
      return original(...args);
    });
  }
  for (const name of ["writeSync", "syncSync", "syncDataSync", "truncateSync"]) {
    replace(Deno.FsFile.prototype, name, (original: (...args: unknown[]) => unknown) => {
      return function (this: Deno.FsFile, ...args: unknown[]) {
        if (opened.has(this)) operation(name);
        return original.apply(this, args);
      };
    });
  }
  try {
    return { result: await body(), operations };
  } catch (error) {
    return { error, operations };
  } finally {
    for (const back of put) back();
  }
}
