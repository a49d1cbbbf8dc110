/**
 * A disk that refuses: the k-th operation that changes anything below a folder fails with what the system would say, or
 * that one and all that follow. It stands in for Deno's own functions, so it meets every write wherever it is made.
 */

/** Linux's numbers and texts, as Deno's errors have them. */
const causes = {
  ENOSPC: "No space left on device (os error 28)",
  EROFS: "Read-only file system (os error 30)",
  EACCES: "Permission denied (os error 13)",
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
  const cause = (["ENOSPC", "EROFS", "EACCES", "EIO"] as const)[at % 4];
  return { at, cause, lasting: Math.floor(at / 4) % 2 === 0 };
}

/**
 * Runs `body` on such a disk. Returns how many operations there were, what each was ("writeSync path"), and how `body`
 * ended.
 */
export async function onFailingDisk<T>(
  folder: string,
  { at, cause, lasting }: Refusal,
  body: () => T | Promise<T>,
): Promise<{ operations: number; names: string[]; result?: T; error?: unknown }> {
  const names: string[] = [], opened = new WeakMap<Deno.FsFile, string>();
  const operation = (name: string, path: string) => {
    const operations = names.push(`${name} ${path}`);
    // A full disk still lets go of what it has.
    if (cause === "ENOSPC" && /remove|truncate/.test(name)) return;
    if (at > 0 && (operations === at || (lasting && operations > at))) {
      const kind = cause === "EACCES" ? Deno.errors.PermissionDenied : Error;
      throw Object.assign(new kind(`${causes[cause]}: ${name}`), { code: cause });
    }
  };
  const isBelow = (path: unknown): path is string => String(path).startsWith(folder);
  const put: (() => void)[] = [];
  // deno-lint-ignore no-explicit-any
  const replace = (owner: any, name: string, change: (original: any) => unknown) => {
    const original = owner[name];
    owner[name] = change(original);
    put.push(() => owner[name] = original);
  };
  replace(Deno, "openSync", (original: typeof Deno.openSync) => (path: string, options?: Deno.OpenOptions) => {
    const changes = isBelow(path) && Boolean(options?.write || options?.append);
    if (changes) operation("openSync", path);
    const file = original(path, options);
    if (changes) opened.set(file, path);
    return file;
  });
  /** Functions of Deno, and where they have the path that they change. */
  const functions: Record<string, (args: unknown[]) => unknown> = {
    ...Object.fromEntries(
      ["mkdirSync", "renameSync", "removeSync", "truncateSync", "writeTextFileSync", "writeFileSync"]
        .map((name) => [name, ([path]: unknown[]) => path]),
    ),
    symlinkSync: ([, path]) => path,
    makeTempDirSync: ([options]) => (options as Deno.MakeTempOptions | undefined)?.dir,
  };
  for (const [name, pathOf] of Object.entries(functions)) {
    replace(Deno, name, (original: (...args: unknown[]) => unknown) => (...args: unknown[]) => {
      const path = pathOf(args);
      if (isBelow(path)) operation(name, path);
      return original(...args);
    });
  }
  for (const name of ["writeSync", "sync", "syncSync", "syncDataSync", "truncateSync"]) {
    replace(Deno.FsFile.prototype, name, (original: (...args: unknown[]) => unknown) => {
      return function (this: Deno.FsFile, ...args: unknown[]) {
        const path = opened.get(this);
        if (path !== undefined) operation(name, path);
        return original.apply(this, args);
      };
    });
  }
  try {
    return { result: await body(), operations: names.length, names };
  } catch (error) {
    return { error, operations: names.length, names };
  } finally {
    for (const back of put) back();
  }
}
