/** The README says what the program does: its commands are the program's, and all ways of training are the same one. */
import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { commands } from "../../lib/cli/commands.ts";
import { environment } from "../../lib/cli/overview.ts";

const readme = Deno.readTextFileSync(new URL("../../README.md", import.meta.url));

Deno.test("the README's table of commands has every command, with its page", () => {
  const listed = [...readme.matchAll(/^\| \[`ftl (\w+)`\]\(docs\/commands\/(\w+)\.md\)/gm)];
  assert.deepEqual(listed.map(([, name]) => name).toSorted(), Object.keys(commands).toSorted());
  assert.deepEqual(listed.map(([, name]) => name), listed.map(([, , page]) => page));
});

Deno.test("the README shows deno task train and ./ftl train, and both are the command train", () => {
  assert.match(readme, /^npx -y deno@[\d.]+ task train +# .*deno task train\n\.\/ftl train /m);
  assert.equal(manifest.tasks.train, `${manifest.tasks.ftl} train`);
  assert.equal(manifest.tasks.ftl, "deno run -A main.ts", "what lib/build/build.ts packs is main.ts too");
});

Deno.test("the README names one version of Deno, and variables that the program knows", () => {
  assert.equal(new Set(readme.match(/deno@[\d.]+\d/g)).size, 1);
  const known = environment.flatMap(([names]) => names.split(", "));
  const named = [...readme.matchAll(/^\| `(FTL_\w+)` /gm)].map(([, name]) => name);
  assert.ok(named.length > 0);
  assert.deepEqual(named.filter((name) => !known.includes(name)), []);
});
