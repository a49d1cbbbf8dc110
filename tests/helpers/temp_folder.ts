/** A temporary folder for the length of a test, removed whatever happens. */
export async function inTempFolder(action: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = Deno.makeTempDirSync();
  try {
    await action(dir);
  } finally {
    if (Deno.build.os !== "windows") Deno.chmodSync(dir, 0o700);
    Deno.removeSync(dir, { recursive: true });
  }
}
