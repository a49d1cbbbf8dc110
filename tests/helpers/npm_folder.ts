/**
 * Packages for tests only, kept out of the project's dependencies: a folder below tests with package.json and
 * package-lock.json, installed on demand with npm run by Deno, so that Node is not needed.
 */
const npm = "npm:npm@10.9.4";

/** null when the folder's packages are there, else the reason to print beside a skipped test. With CI set, that throws. */
export async function installNpmFolder(folder: URL, what: string): Promise<string | null> {
  const stamp = new URL("node_modules/.installed", folder);
  const lock = await Deno.readTextFile(new URL("package-lock.json", folder));
  if (await Deno.readTextFile(stamp).catch(() => "") === lock) return null;
  const flags = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { code, stderr } = await runDenoIn(folder, [npm, "ci", ...flags], "");
  if (code === 0) {
    await Deno.writeTextFile(stamp, lock);
    return null;
  }
  const reason = `${what} could not be installed: ${stderr.trim().split("\n").at(-1)}`;
  if (Deno.env.get("CI")) throw new Error(reason);
  return `skipped: ${reason}`;
}

/** `deno run` in a folder, apart from the project's configuration and lock file. */
export async function runDenoIn(
  folder: URL,
  args: string[],
  input: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-config", "--no-lock", ...args],
    cwd: folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await process.output();
  return {
    code,
    stdout: new TextDecoder().decode(stdout),
    stderr: new TextDecoder().decode(stderr),
  };
}
