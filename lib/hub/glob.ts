/**
 * Patterns of paths as dataset cards use them: * and ? within a name, ** for any number of folders, [0-9] and [!a].
 * (node:path's matchesGlob takes minutes for a line of braces or stars that someone wrote to that end; this takes at
 * most pattern times path steps.)
 */

/** The paths that fit any of the patterns, each once, in the order of `paths`. */
export function matching(patterns: string[], paths: string[]): string[] {
  const plain = new Set(patterns.filter((pattern) => !/[*?[]/.test(pattern)));
  const globs = patterns.filter((pattern) => !plain.has(pattern) && pattern.length <= longestGlob)
    .slice(0, mostGlobs).map(stepsOf);
  return paths.filter((path) => plain.has(path) || globs.some((steps) => fitsPath(steps, path)));
}

const mostGlobs = 100;
/** Characters; taking a pattern apart may look at its rest once for each of them. */
const longestGlob = 4096;

/** A step is "**" or the signs of a name: "*", "?", "[0-9]", "a". */
type Step = "**" | string[];

const stepsOf = (pattern: string): Step[] =>
  pattern.split("/").map((step) => step === "**" ? step : step.match(/\[!?[^\]]+\]|./gsu) ?? []);

function fitsPath(steps: Step[], path: string): boolean {
  return fits(steps, path.split("/"), {
    isMany: (step) => step === "**",
    fitsOne: (step, name) =>
      fits(step as string[], [...name], { isMany: (sign) => /^\*+$/.test(sign), fitsOne: fitsSign }),
  });
}

function fitsSign(sign: string, character: string): boolean {
  if (sign === "?" || sign === character) return true;
  const set = /^\[(!?)(.+)\]$/su.exec(sign);
  if (!set) return false;
  const ranges = set[2].match(/.-.|./gsu)!;
  const inside = ranges.some((range) =>
    range.length < 3 ? range === character : range[0] <= character && character <= range.slice(2)
  );
  return inside !== (set[1] === "!");
}

/** Whether all of `text` fits all of `pattern`; after a mismatch only the last "many" takes one more. */
function fits<P, T>(
  pattern: P[],
  text: T[],
  { isMany, fitsOne }: { isMany: (one: P) => boolean; fitsOne: (one: P, other: T) => boolean },
): boolean {
  let p = 0, many = -1, taken = 0;
  for (let t = 0; t < text.length;) {
    if (p < pattern.length && isMany(pattern[p])) [many, taken] = [p++, t];
    else if (p < pattern.length && fitsOne(pattern[p], text[t])) [p, t] = [p + 1, t + 1];
    else if (many >= 0) [p, t] = [many + 1, ++taken];
    else return false;
  }
  return pattern.slice(p).every(isMany);
}
