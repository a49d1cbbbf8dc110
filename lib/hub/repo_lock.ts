/**
 * One fetching ftl per repository, so that two do not write the same pieces: an operating-system lock in the cache's
 * `.locks` folder, where huggingface_hub keeps its own, dropped by the system when its process ends. Hugging Face's
 * tools need not be kept out: they write under names of their own and rename whole files.
 */
import { basename, dirname, join } from "node:path";

export interface RepoLock {
  release(): void;
}

/** The lock of ".../models--org--name", or null while another process has it. */
export function tryLockRepo(root: string): RepoLock | null {
  const folder = join(dirname(root), ".locks", basename(root));
  Deno.mkdirSync(folder, { recursive: true });
  const file = Deno.openSync(join(folder, "ftl.lock"), { read: true, write: true, create: true });
  let locked: boolean;
  try {
    locked = file.tryLockSync(true);
  } catch {
    locked = true; // No locks on this file system (some network folders); digests are checked all the same.
  }
  if (locked) return { release: () => file.close() };
  file.close();
  return null;
}

/** Waits for the lock; `note` is called once when it has to. */
export async function lockRepo(
  root: string,
  { signal, note }: { signal?: AbortSignal; note: () => void },
): Promise<RepoLock> {
  for (let waited = false;; waited = true) {
    const lock = tryLockRepo(root);
    if (lock) return lock;
    if (!waited) note();
    await new Promise((resolve) => setTimeout(resolve, 200));
    signal?.throwIfAborted();
  }
}
