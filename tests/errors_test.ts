/** What a UserError's message looks like, whatever it quotes. */
import assert from "node:assert/strict";
import { UserError } from "../lib/errors.ts";

Deno.test("a message is one line, whatever it quotes; problems have a line each", () => {
  const quoting = new UserError("no files at a\n  b\x1b[2J, where they should be");
  assert.equal(quoting.message, "no files at a\\u000a  b\\u001b[2J, where they should be");
  assert.deepEqual(quoting.problems, []);
  const list = new UserError("2 settings are wrong:", { problems: ["r: got a\n  b", "seed: got x"] });
  assert.equal(list.message, "2 settings are wrong:\n  r: got a\\u000a  b\n  seed: got x");
});
