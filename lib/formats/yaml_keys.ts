/**
 * A guard before YAML is parsed. Keys that are collections ("? " before them) may nest, and the parser takes more than
 * cubic time for that: 6 s for 200 levels. No file we read needs one.
 */

/** Of a whole text; some may stand at the beginning of a line by chance. */
const mostKeys = 20;

/** Whether more lines, or more levels of one line, begin with "? " than anybody writes. */
export function nestsKeys(yaml: string): boolean {
  let keys = 0;
  for (const [indicators] of yaml.matchAll(/^[ \t]*(?:[-?:][ \t]+)*[-?:]?(?=\s)/gm)) {
    keys += indicators.split("?").length - 1;
    if (keys > mostKeys) return true;
  }
  return false;
}
