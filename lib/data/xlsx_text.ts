/** The text of a cell or of a shared text in a workbook: what of its elements it is made of, and how it is escaped. */

/**
 * The most of one text. Excel itself has 32,767 characters in a cell, Google's spreadsheets have 50,000; a file with more
 * than this is damaged, or made to do harm.
 */
const longestText = 1 << 20;

/**
 * Joins what stands in `t` (a text, or a run of one in its own style) and `v` (a value), and leaves out how it is
 * pronounced (`rPh`). Errors of `text`: Error for a text that is too long.
 */
export function makeTextGatherer() {
  let gathered = "", reading = false, pronounced = false;
  return {
    start() {
      [gathered, reading, pronounced] = ["", false, false];
    },
    open(name: string) {
      if (name === "rPh") pronounced = true;
      else if (name === "t" || name === "v") reading = !pronounced;
    },
    text(piece: string) {
      if (!reading) return;
      gathered += piece;
      if (gathered.length > longestText) throw new Error(`a text of more than ${longestText} characters`);
    },
    close(name: string) {
      if (name === "rPh") pronounced = false;
      else if (name === "t" || name === "v") reading = false;
    },
    /** The text, with characters in it that XML cannot hold and that are written _xHHHH_: ECMA-376 part 1, 22.9.2.19. */
    end(): string {
      reading = false;
      if (!gathered.includes("_x")) return gathered;
      return gathered.replace(/_x([0-9a-f]{4})_/gi, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
    },
  };
}
