/** Sizes, times and columns as a person reads them. */
import assert from "node:assert/strict";
import {
  asTyped,
  displayWidth,
  ownCommand,
  printable,
  showBytes,
  showSeconds,
  sideBySide,
  wrap,
} from "../../lib/cli/terminal.ts";
import { showCount } from "../../lib/cli/load.ts";
import { learningRateFor, warmupFor } from "../../lib/cli/train_setup.ts";

Deno.test("showBytes(), showSeconds() and showCount() round to what matters", () => {
  const bytes = [0, 1, 999, 1000, 9_950, 98_362_432, 999_600_000, 5.7e9, 3e15].map(showBytes);
  assert.deepEqual(bytes, ["0 B", "1 B", "999 B", "1.0 kB", "9.9 kB", "98.4 MB", "1.0 GB", "5.7 GB", "3000 TB"]);
  assert.deepEqual([0, 0.6, 59.6, 75.2, 3599.7, 4000, 90061].map(showSeconds), [
    ...["0:00", "0:01", "1:00", "1:15", "1:00:00", "1:06:40", "25:01:01"],
  ]);
  assert.deepEqual([72_000, 4_884_480, 134_515_008, 999_700_000, 8_030_261_248, 70e9].map(showCount), [
    ...["72K", "4.9M", "135M", "1.0B", "8.0B", "70B"],
  ]);
});

Deno.test("learningRateFor() falls with the model's size to the paper's rate", () => {
  assert.deepEqual([135e6, 500e6, 1.7e9, 3e9, 8e9, 70e9].map(learningRateFor), [2e-3, 1e-3, 5e-4, 5e-4, 2e-4, 2e-4]);
});

Deno.test("warmupFor() shortens a preset's warm-up for short runs, never one that was chosen", () => {
  const wanted = 5, given = false;
  assert.deepEqual([1, 2, 6, 12, 30, 1000].map((steps) => warmupFor(steps, { wanted, given })), [0, 0, 1, 2, 5, 5]);
  assert.equal(warmupFor(6, { wanted, given: true }), 5);
});

Deno.test("wrap() keeps words whole, cuts words longer than a line, and no line is too wide", () => {
  assert.deepEqual(wrap("the quick  brown fox", 9), ["the quick", "brown fox"]);
  assert.deepEqual(wrap("a\n\nb", 9), ["a", "", "b"]);
  assert.deepEqual(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
  assert.deepEqual(wrap("漢字漢字 é", 4), ["漢字", "漢字", "é"]);
  for (const width of [1, 2, 3, 31, 33]) {
    for (const line of wrap("Ein längerer Text 🙂🙂 mit 漢字漢字漢字 und e\u0301".repeat(9), width)) {
      assert.ok(displayWidth(line) <= Math.max(2, width), `${width}: ${line}`);
    }
  }
});

Deno.test("sideBySide() puts two texts beside each other within the width", () => {
  const shown = sideBySide({ title: "base", text: "one two three four five" }, { title: "tuned", text: "six" }, {
    width: 25,
  });
  assert.equal(shown, "  base         tuned\n  ----         -----\n  one two      six\n  three four\n  five");
  const long = sideBySide({ title: "a", text: "x ".repeat(500) }, { title: "b", text: "" }, { width: 40, most: 3 });
  assert.equal(long.split("\n").length, 6);
  assert.equal(long.split("\n").at(-1)?.trim(), "...");
});

Deno.test("printable() leaves nothing that moves a terminal's cursor", () => {
  assert.equal(printable("a\x1b[31mb\x07\r\nc\td\x9b"), "a[31mb\nc\td");
});

Deno.test("asTyped() names the one file so that a shell takes it as one word", () => {
  try {
    for (
      const [file, shown] of [["./ftl", "./ftl"], [
        "C:\\Program Files (x86)\\ftl.cmd",
        '"C:\\Program Files (x86)\\ftl.cmd"',
      ]]
    ) {
      Deno.env.set("FTL_PROGRAM", file);
      assert.equal(asTyped("See ftl train --help"), `See ${shown} train --help`);
    }
  } finally {
    Deno.env.delete("FTL_PROGRAM");
  }
});

Deno.test("ownCommand() starts Deno itself, not the script before the one file", () => {
  const [program, args] = ownCommand(["pull", "a b"]);
  assert.equal(program, Deno.execPath());
  assert.deepEqual([args[0], ...args.slice(-2)], ["run", "pull", "a b"]);
  assert.ok(args.at(-3)!.endsWith("/main.ts"), args.join(" "));
});
