/** Tables as CSV (RFC 4180), which spreadsheets and data frames read. */

/** One header line and a line a record, of its texts and numbers named. What is missing is empty; numbers are unrounded. */
export function toCsv(columns: string[], records: Record<string, unknown>[]): string {
  const line = (cells: unknown[]) => cells.map(csvCell).join(",") + "\r\n";
  return line(columns) + records.map((record) => line(columns.map((column) => record[column]))).join("");
}

/** A text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP's CSV injection page says. */
function csvCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
