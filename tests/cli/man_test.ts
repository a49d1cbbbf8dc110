/** `ftl man`: the page is right roff, and holds every option of every command. */
import assert from "node:assert/strict";
import { commandShapes } from "../../lib/cli/commands.ts";
import { manualPage } from "../../lib/cli/man.ts";
import { flagOf, optionsOf } from "../../lib/cli/options.ts";

const page = manualPage(await commandShapes());

/** In continuous integration, which installs it. */
const required = Deno.env.get("FTL_REQUIRE_SHELLS") === "1";

/** What a program makes of the page; undefined where the program is not here. */
async function through(program: string, args: string[]): Promise<{ stdout: string; stderr: string } | undefined> {
  try {
    const child = new Deno.Command(program, {
      args,
      env: { MANWIDTH: "100", LC_ALL: "C.UTF-8", MAN_KEEP_FORMATTING: "" },
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(page + "\n"));
    await writer.close();
    const { stdout, stderr } = await child.output();
    return { stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } catch (error) {
    // Where pages are left out of the system to save room, something else of that name may stand there.
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.BrokenPipe && !required)) throw error;
    console.warn(`the manual page is not read by ${program}: it is not here`);
  }
}

Deno.test("man shows the page of ftl man without a complaint, with every option", async () => {
  const shown = await through("man", ["--warnings", "-l", "-"]);
  if (!shown) return;
  assert.equal(shown.stderr, "");
  // deno-lint-ignore no-control-regex
  const text = shown.stdout.replace(/.\x08/g, "").replaceAll("\u2010\n", "\u2010").replace(/\s+/g, " ");
  assert.match(text, /^FTL\(1\).* NAME ftl - fine-tunes a language model .* EXIT STATUS 0 done .* EXAMPLES /);
  for (const { name } of await commandShapes()) {
    for (const [option] of optionsOf(name)) assert.ok(text.includes(flagOf(option)), `${name}: ${option}`);
  }
});

Deno.test("mandoc finds no fault in the page of ftl man", async () => {
  const found = await through("mandoc", ["-Tlint", "-Wwarning"]);
  if (!found) return;
  const faults = found.stdout.split("\n").filter((line) => line !== "" && !line.includes("missing date"));
  assert.deepEqual(faults, []);
});
