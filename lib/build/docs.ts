/**
 * `deno task docs`: writes docs/commands, a page for each command, from the tables that --help is made of. A test says
 * when they are behind.
 */
import { commandPage, commandsPage } from "../cli/command_page.ts";
import { commandShapes } from "../cli/commands.ts";

/** Names and texts of the pages, formatted as `deno fmt` leaves them. */
export async function commandPages(): Promise<Map<string, string>> {
  const shapes = await commandShapes();
  const pages: [string, string][] = [
    ["README.md", commandsPage(shapes)],
    ...shapes.map((shape): [string, string] => [`${shape.name}.md`, commandPage(shape)]),
  ];
  const config = new URL("../../deno.json", import.meta.url).pathname, folder = Deno.makeTempDirSync();
  try {
    for (const [name, text] of pages) Deno.writeTextFileSync(`${folder}/${name}`, text);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["fmt", "--quiet", "--config", config, folder],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return new Map(pages.map(([name]) => [name, Deno.readTextFileSync(`${folder}/${name}`)]));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const folder = new URL("../../docs/commands/", import.meta.url);
  Deno.mkdirSync(folder, { recursive: true });
  for (const [name, text] of await commandPages()) Deno.writeTextFileSync(new URL(name, folder), text);
}
