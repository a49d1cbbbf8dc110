/** Rows of a sheet of an Excel workbook, one at a time, and what the cells in them hold: ECMA-376 part 1, 18.3.1. */
import { UserError } from "../errors.ts";
import type { ZipEntry } from "../formats/zip.ts";
import type { Place } from "./rows.ts";
import { longestPiece } from "./text_stream.ts";
import { type Attributes, parseXml } from "./xml_pieces.ts";
import type { Workbook } from "./xlsx_parts.ts";
import { makeTextGatherer } from "./xlsx_text.ts";

/** A row with something in it. */
export interface SheetRow {
  /** Counted from 1. */
  number: number;
  /** From left to right, those that are not empty. */
  cells: SheetCell[];
}

/** A cell as it is written. */
export interface SheetCell {
  /** Counted from 0. */
  column: number;
  type: string;
  style: string | undefined;
  text: string;
}

/** Excel's own limits. */
const mostRows = 1 << 20, mostColumns = 1 << 14;

/**
 * The rows of a sheet, `place` being file:Sheet. Errors: UserError with the place of a row or cell that no sheet has or
 * that is out of order, Error for other damage.
 */
export async function* sheetRows(entry: ZipEntry, place: Place): AsyncGenerator<SheetRow> {
  const rows: SheetRow[] = [], text = makeTextGatherer();
  let inside = false, row: SheetRow | undefined, cell: SheetCell | undefined;
  // Of the last row and cell; whether that row said its number itself, and how long its texts are.
  let number = 0, column = -1, numbered = false, length = 0;

  /** Where a row or cell does not say where it is, it follows the one before. */
  function openRow({ r }: Attributes): SheetRow {
    [column, numbered, length] = [-1, r !== undefined, 0];
    number = rowNumber(r ?? `${number + 1}`, { last: number, place });
    return { number, cells: [] };
  }

  function openCell({ r, t = "n", s }: Attributes, row: SheetRow): SheetCell {
    const [, letters, digits] = (r === undefined ? null : /^([A-Z]{1,3})(\d{1,7})$/.exec(r)) ?? [];
    const next = letters === undefined ? column + 1 : columnOf(letters);
    if ((r !== undefined && letters === undefined) || next >= mostColumns) throw nowhere(r ?? `${next + 1}`, place);
    if (next <= column) throw outOfOrder(r!, place);
    if (digits !== undefined && !numbered) {
      number = row.number = rowNumber(digits, { last: number - 1, place, written: r });
      numbered = true;
    }
    return { column: column = next, type: t, style: s, text: "" };
  }

  for await (
    const _ of parseXml(entry.pieces(), {
      open(name, attributes) {
        if (name === "sheetData") inside = true;
        else if (!inside) return;
        else if (name === "row") row = openRow(attributes());
        else if (name === "c" && row) cell = openCell(attributes(), row), text.start();
        else if (cell) text.open(name);
      },
      text: text.text,
      close(name) {
        if (name === "sheetData") inside = false;
        else if (name === "row") {
          if (row && row.cells.length > 0) rows.push(row);
          row = undefined;
        } else if (name === "c" && cell) {
          cell.text = text.end();
          length += cell.text.length;
          if (length > longestPiece) throw new Error(`row ${number} has more than ${longestPiece} characters`);
          if (cell.text !== "") row?.cells.push(cell);
          cell = undefined;
        } else if (cell) text.close(name);
      },
    })
  ) {
    yield* rows;
    rows.length = 0;
  }
}

/** The number of a row behind row `last`; `written` is what a message shows. */
function rowNumber(
  digits: string,
  { last, place, written = digits }: { last: number; place: Place; written?: string },
): number {
  const number = /^\d{1,7}$/.test(digits) ? Number(digits) : 0;
  if (number < 1 || number > mostRows) throw nowhere(written, place);
  if (number <= last) throw outOfOrder(written, place);
  return number;
}

/** "A" is 0. */
function columnOf(letters: string): number {
  let number = 0;
  for (let i = 0; i < letters.length; i++) number = number * 26 + letters.charCodeAt(i) - 64;
  return number - 1;
}

const nowhere = (r: string, place: Place) =>
  new UserError(`${place}: there is no cell or row ${JSON.stringify(r.slice(0, 40))}`, { hint: saveAgain });
const outOfOrder = (r: string, place: Place) =>
  new UserError(`${place}!${r}: it stands behind one that should follow it`, { hint: saveAgain });

/**
 * A text (null if there is only space in it), number, date, or yes or no; errors of formulas are null. `place` is the
 * row's. Errors: UserError for something else.
 */
export function cellValue(
  { type, style, text }: SheetCell,
  { texts, dateStyles, from1904 }: Workbook,
  place: Place,
): string | number | boolean | Date | null {
  const damaged = (what: string) => new UserError(`${place}: a cell ${what}`, { hint: saveAgain });
  const shown = () => JSON.stringify(text.slice(0, 40));
  switch (type) {
    case "s": {
      const found = texts.at(Number(text));
      if (found === undefined) throw damaged(`names text ${shown()} of ${texts.length}`);
      return found.trim() || null;
    }
    case "str":
    case "inlineStr":
      return text.trim() || null;
    case "n": {
      const number = Number(text), isDate = style === undefined ? false : dateStyles[Number(style)];
      if (isDate === undefined) {
        throw damaged(`has style ${JSON.stringify(style!.slice(0, 40))} of ${dateStyles.length}`);
      }
      if (Number.isNaN(number)) throw damaged(`should be a number and is ${shown()}`);
      return isDate ? dateOf(number, from1904) : number;
    }
    case "b":
      if (/^(1|true)$/.test(text)) return true;
      if (/^(0|false)$/.test(text)) return false;
      throw damaged(`should be 1 or 0 and is ${shown()}`);
    case "d": {
      const date = new Date(text);
      if (Number.isNaN(date.getTime())) throw damaged(`should be a date and is ${shown()}`);
      return date;
    }
    case "e":
      return null;
    default:
      throw damaged(`is of an unknown type, ${JSON.stringify(type.slice(0, 40))}`);
  }
}

/** Days since the last but one of 1899, since Excel believes in a 29 February 1900; or since the first of 1904. */
function dateOf(days: number, from1904: boolean): Date {
  return new Date(Math.floor((days + (from1904 ? 1462 : 0) - 25_569) * 86_400_000));
}

const saveAgain = "Save the workbook again as .xlsx, or the rows as .csv.";
