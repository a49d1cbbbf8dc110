/** `ftl licenses`: everything that the program is made of, each with its version, its licence and the licence's text. */
import { nearest, UserError } from "../errors.ts";
import { besideProgram } from "../build/commit.ts";
import type { Component } from "../build/inventory.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { printable } from "./terminal.ts";

export const shape: CommandShape = {
  name: "licenses",
  summary: "Lists everything that this program is made of with its licence. With names: the texts of their licences.",
  usage: "[name...]",
  most: 1000,
  takes: [],
  examples: [
    ["ftl licenses", "name, version and licence of every part"],
    ["ftl licenses zod Deno", "what the licences of these say"],
    ["ftl licenses --full > NOTICE", "all texts in one file"],
    ["ftl licenses --json", "the same for a program"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const { full, json } = settingsOf("licenses", line);
  const all = await components(), chosen = choose(all, line.positional);
  if (json) console.log(JSON.stringify(chosen, null, 2));
  else console.log(full || line.positional.length > 0 ? chosen.map(notice).join("\n") : table(chosen));
  return 0;
}

/** Those of the build, or of this checkout. */
async function components(): Promise<Component[]> {
  const built = besideProgram("licences.json");
  return built ? JSON.parse(built) : await (await import("../build/inventory.ts")).inventory();
}

function choose(all: Component[], names: string[]): Component[] {
  if (names.length === 0) return all;
  return names.flatMap((name) => {
    const found = all.filter((one) => one.name.toLowerCase() === name.toLowerCase());
    if (found.length > 0) return found;
    const near = nearest(name, all.map((one) => one.name));
    throw new UserError(`Nothing named ${name} is inside${near ? `, did you mean ${near}?` : ""}`, {
      hint: "See ftl licenses",
    });
  });
}

function table(components: Component[]): string {
  const rows = components.map(({ name, version, licence }) => [name, version, licence]);
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map(([name, version, licence]) => `${name.padEnd(widths[0])}  ${version.padEnd(widths[1])}  ${licence}`)
    .join("\n");
}

function notice({ name, version, licence, text }: Component): string {
  const title = `${name} ${version} (${licence})`;
  return [title, "=".repeat(title.length), "", printable(text).trim(), ""].join("\n");
}
