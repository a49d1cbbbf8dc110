/** Tables as CSV (RFC 4180), which spreadsheets and data frames read. */

type Cell = string | number | boolean | null | undefined;

/** One header line and a line a record. What is missing is empty; numbers are unrounded. */
export function toCsv(columns: string[], records: Record<string, Cell>[]): string {
  const line = (cells: Cell[]) => cells.map(csvCell).join(",") + "\r\n";
  return line(columns) + records.map((record) => line(columns.map((column) => record[column]))).join("");
}

/** A text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP's CSV injection page says. */
function csvCell(value: Cell): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
