/** The README says what the program does: its table of settings is the program's own. */
import assert from "node:assert/strict";
import { optionsOf } from "../../lib/cli/options.ts";

/** The table as it should stand in the README. */
function optionsTable(): string {
  const rows = optionsOf("train").map(([name, spec]) => {
    const value = spec.type === "list" && spec.default.length > 3 ? "all seven" : spec.default;
    const shown = value === null || (Array.isArray(value) && value.length === 0) ? "" : `\`${value}\``;
    const choices = spec.type === "choice" ? ` (${spec.choices.join(", ")})` : "";
    const short = spec.short ? `, \`-${spec.short}\`` : "";
    return `| \`${name}\`${short} | ${shown} | ${spec.help.replaceAll("<", "\\<")}${choices} |`;
  });
  return ["| name | default | what |", "| --- | --- | --- |", ...rows].join("\n");
}

/** Without the spaces and dashes that align a table. */
const squeeze = (text: string) => text.replace(/ +/g, " ").replace(/-{3,}/g, "---");

Deno.test("the README's table of settings is the table that the program is made of", () => {
  const readme = squeeze(Deno.readTextFileSync(new URL("../../README.md", import.meta.url)));
  assert.ok(readme.includes(squeeze(optionsTable())), `README.md should hold:\n\n${optionsTable()}\n`);
});
