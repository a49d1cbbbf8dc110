/** Which commit the program was made of: written beside it by the build, asked of git in a checkout. */

export interface Commit {
  /** The first ten digits; "-dirty" behind them where tracked files differ from it. */
  id: string;
  /** Of the commit, not of the build, so that both builds of it are the same: "2026-11-26T06:00:00Z". */
  date: string;
}

/** A file that the build put beside the bundled program; undefined in a checkout. */
export function besideProgram(name: string): string | undefined {
  try {
    return Deno.readTextFileSync(new URL(`./${name}`, import.meta.url));
  } catch {
    return undefined;
  }
}

/** Undefined where nobody knows: a checkout without git, or without its history. */
export async function commit(): Promise<Commit | undefined> {
  const known = besideProgram("commit.json");
  return known ? JSON.parse(known) : await commitOfCheckout();
}

async function commitOfCheckout(): Promise<Commit | undefined> {
  try {
    const [id, seconds] = (await git(["log", "-1", "--format=%h %ct", "--abbrev=10"])).trim().split(" ");
    const changes = await git(["status", "--porcelain", "--untracked-files=no"]);
    const date = new Date(Number(seconds) * 1000).toISOString().replace(".000", "");
    return { id: changes.trim() === "" ? id : `${id}-dirty`, date };
  } catch {
    return undefined;
  }
}

async function git(args: string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command("git", {
    args,
    cwd: new URL("../..", import.meta.url),
    stderr: "null",
  }).output();
  if (!success) throw new Error(`git ${args[0]} failed`);
  return new TextDecoder().decode(stdout);
}
