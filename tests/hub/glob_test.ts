/** Patterns of paths: what fits, and that no pattern takes long. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { matching } from "../../lib/hub/glob.ts";

const cases: [string, string, boolean][] = [
  ["data/train-*", "data/train-00000-of-00001.parquet", true],
  ["data/train-*", "data/more/train-0.parquet", false],
  ["*.csv", "a.csv", true],
  ["*.csv", "a/b.csv", false],
  ["**/*.csv", "a.csv", true],
  ["**/*.csv", "a/b/c.csv", true],
  ["a/**", "a/b/c", true],
  ["a/**/c", "a/c", true],
  ["a/**/c", "a/b/d", false],
  ["x[0-9].csv", "x1.csv", true],
  ["x[0-9].csv", "xa.csv", false],
  ["x[!0-9].csv", "xa.csv", true],
  ["x?.csv", "xé.csv", true],
  ["x?.csv", "x.csv", false],
  ["*a*b", "xaxbxab", true],
  ["a.csv", "aXcsv", false],
  ["", "a", false],
];
for (const [pattern, path, fits] of cases) {
  Deno.test(`${JSON.stringify(pattern)} ${fits ? "fits" : "does not fit"} ${path}`, () => {
    assert.deepEqual(matching([pattern], [path]), fits ? [path] : []);
  });
}

Deno.test("a path fits itself with any of its names' characters replaced by ? or a stretch by *", () => {
  const path = fc.stringMatching(/^[a-z]{1,8}(\/[a-z.-]{1,8}){0,3}$/);
  fc.assert(fc.property(path, fc.nat(), fc.nat(), (path, at, length) => {
    const start = at % path.length;
    if (path[start] !== "/") {
      assert.deepEqual(matching([path.slice(0, start) + "?" + path.slice(start + 1)], [path]), [path]);
    }
    const stretch = path.slice(start, start + length % 8).split("/")[0];
    assert.deepEqual(matching([path.slice(0, start) + "*" + path.slice(start + stretch.length)], [path]), [path]);
    assert.deepEqual(matching(["**"], [path]), [path]);
  }));
});

Deno.test("patterns made to take long do not", () => {
  const began = performance.now(), path = "a".repeat(200);
  for (const pattern of ["*a".repeat(100) + "x", "**/".repeat(100) + "x", "{1..10000000}", "(a|a)*".repeat(30) + "x"]) {
    assert.deepEqual(matching([pattern], [path, path + "/" + path]), []);
  }
  assert.ok(performance.now() - began < 1000);
});
