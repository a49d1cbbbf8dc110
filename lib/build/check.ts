/**
 * `deno task test`: formatting, lint, types, then every test, in this order, stopping at the first that fails. The last
 * line says how many tests passed and failed, alone on its line, for those who count. Arguments are handed to deno test.
 */

const deno = Deno.execPath();

async function stage(name: string, args: string[]): Promise<boolean> {
  console.log(`== ${name}`);
  const { success } = await new Deno.Command(deno, { args, stdout: "inherit", stderr: "inherit" }).spawn().status;
  return success;
}

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** Runs the tests, showing their output as it comes, and reads the numbers from the closing line. */
async function runTests(args: string[]): Promise<Count | undefined> {
  console.log("== tests");
  const child = new Deno.Command(deno, {
    args: ["test", "--allow-all", ...args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const decoder = new TextDecoder();
  let tail = "";
  for await (const chunk of child.stdout) {
    for (let done = 0; done < chunk.length;) done += Deno.stdout.writeSync(chunk.subarray(done));
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-4000);
  }
  const { success } = await child.status;
  const found = [...tail.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed(?:.*? \| (\d+) ignored)?/gm)].at(
    -1,
  );
  if (!found) return undefined;
  const [passed, failed, skipped] = found.slice(1).map((text) => Number(text ?? 0));
  // A leaked resource or an uncaught error fails the run without failing a test.
  return { passed, failed: success ? failed : Math.max(1, failed), skipped };
}

/** Every TypeScript file of ours; what tests keep for other programs (.mjs, packages) is not. */
function sources(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return name === "node_modules" ? [] : sources(`${folder}/${name}`);
    return name.endsWith(".ts") ? [`${folder}/${name}`] : [];
  });
}

async function main(args: string[]): Promise<number> {
  const stages: [string, string[]][] = [
    ["format", ["fmt", "--check", "--quiet"]],
    ["lint", ["lint", "--quiet"]],
    ["types", ["check", "--quiet", "main.ts", ...sources("lib"), ...sources("tests")]],
  ];
  for (const [name, command] of stages) {
    if (!await stage(name, command)) {
      console.log(`${name} failed\n0 passed, 1 failed`);
      return 1;
    }
  }
  const count = await runTests(args.length > 0 ? args : ["tests/"]);
  if (!count) {
    console.log("no test ran\n0 passed, 1 failed");
    return 1;
  }
  if (count.skipped > 0) console.log(`${count.skipped} skipped, each with its reason above`);
  console.log(`${count.passed} passed, ${count.failed} failed`);
  return count.failed === 0 && count.passed > 0 ? 0 : 1;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
