/** The documentation says what is so: links lead somewhere, messages it quotes exist, made pages are up to date. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import manifest from "../../deno.json" with { type: "json" };
import { commandPages } from "../../lib/build/docs.ts";
import { commands } from "../../lib/cli/commands.ts";
import { filesBelow } from "../helpers/files_below.ts";

const root = new URL("../..", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFileSync(join(root, path));
const pages = ["README.md", "CHANGELOG.md", ...filesBelow(join(root, "docs")).map((path) => join("docs", path))];

Deno.test("docs/commands has a page for each command, as deno task docs makes it", async () => {
  const made = await commandPages();
  assert.deepEqual([...made.keys()].slice(1), Object.keys(commands).map((name) => `${name}.md`));
  for (const [name, text] of made) assert.equal(read(`docs/commands/${name}`), text, `${name}: run deno task docs`);
  const there = filesBelow(join(root, "docs/commands"));
  assert.deepEqual(there.toSorted(), [...made.keys()].toSorted());
});

Deno.test("the changelog knows the version in deno.json", () => {
  assert.match(read("CHANGELOG.md"), new RegExp(`\\b${manifest.version.replaceAll(".", "\\.")}\\b`));
});

Deno.test("links between pages lead to files and headings that are there", () => {
  const anchors = (text: string) =>
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title.toLowerCase().replace(/[^\p{L}\p{N} -]/gu, "").replaceAll(" ", "-")
    );
  const wrong: string[] = [];
  for (const page of pages) {
    for (const [, target] of read(page).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [path, anchor] = target.split("#"), file = path === "" ? page : join(dirname(page), path);
      try {
        const isFile = Deno.statSync(join(root, file)).isFile;
        if (anchor && !(isFile && anchors(read(file)).includes(anchor))) wrong.push(`${page}: ${target}`);
      } catch {
        wrong.push(`${page}: ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("every error line that docs/troubleshooting.md quotes is one of the program's", () => {
  const files = ["main.ts", ...filesBelow(join(root, "lib")).map((path) => `lib/${path}`)];
  const sources = files.filter((path) => path.endsWith(".ts"))
    .flatMap((path) => read(path).split("\n").filter((line) => !/^\s*(\*|\/\/)/.test(line)));
  const quoted = [...read("docs/troubleshooting.md").matchAll(/^\| `([^`]+)` +\|/gm)].map(([, line]) => line);
  assert.ok(quoted.length > 50, "the tables are there");
  // The parts between what differs stand in one line of the source, in this order, or in a few that follow each other.
  const joined = sources.map((line) => line.trim()).join(" ");
  const missing = quoted.filter((line) => {
    const parts = line.split("…").map((part) => part.trim()).filter((part) => part !== "");
    const escaped = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return !new RegExp(escaped.join(".{0,300}?")).test(joined);
  });
  assert.deepEqual(missing, []);
});
