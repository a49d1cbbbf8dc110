/**
 * Rows of a data file, streamed: jsonl, json, csv, tsv, Parquet, Excel, or a text file as one document. What a file is, is
 * told by its first bytes and its name; what its rows are, by their keys.
 *
 * Reading only: what is *in* the rows is judged by clean.ts.
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { foreignFile } from "../formats/foreign_file.ts";
import { parseJson } from "../formats/json_depth.ts";
import { type Columns, ColumnsError } from "./column_names.ts";
import { readCsv } from "./csv.ts";
import { isObject } from "./fields.ts";
import { elementsOf } from "./json_lines.ts";
import { readParquet } from "./parquet.ts";
import { asObject, describeShape, rowOf, type Shape, shapeOf } from "./row_shapes.ts";
import { type CleaningNote, formatOf, type Place, type Row, type RowFormat } from "./rows.ts";
import type { Table } from "./tables.ts";
import { linesOf, peek, textOf } from "./text_stream.ts";

export interface ReadOptions {
  /** "auto" (default) takes the first row's form for all. "chat" also turns Alpaca rows into conversations. */
  format?: "auto" | RowFormat;
  /** Which column is what, instead of telling by names. */
  columns?: Columns | null;
  /** Takes notes of what was left out. */
  notes: CleaningNote[];
  /** Told once for each kind of row, for a person: "Alpaca rows (instruction, output)". */
  onShape?: (description: string) => void;
}

/** Ends of names that are read; each may have .gz behind it but the last two. */
export const dataEndings = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "xlsx"];
export const textEndings = ["txt", "md"];

/**
 * All rows of a file, in order.
 * Errors: UserError naming the place when there are no rows, a line is not JSON, a row has no known form or fields of
 * wrong types, the file mixes forms, or it is damaged.
 */
export async function* readRows(source: ByteSource, options: ReadOptions): AsyncGenerator<Row> {
  const reader = makeRowReader(options);
  let count = 0;
  for await (const row of rowsOf(source, reader, options.notes)) {
    count++;
    yield row;
  }
  if (count === 0) throw emptyError(source.name);
}

async function* rowsOf(source: ByteSource, reader: RowReader, notes: CleaningNote[]): AsyncGenerator<Row> {
  const { name } = source;
  if (source.size === 0) return;
  const start = [...source.read(0, Math.min(4, source.size))].map((byte) => String.fromCharCode(byte)).join("");
  const ending = /\.([a-z]+)(\.gz)?$/i.exec(name)?.[1].toLowerCase();
  if (start === "PAR1" || ending === "parquet") return yield* reader.table(await readParquet(source));
  const isDocument = ending === "txt" || ending === "md";
  const foreign = ending === "xlsx" ? undefined : foreignFile(source);
  if (foreign && !(isDocument && foreign.isText)) {
    throw new UserError(`${name}: this is ${foreign.what}`, { hint: foreign.hint });
  }
  if (start === "PK\x03\x04" || ending === "xlsx") {
    const { readXlsx } = await import("./xlsx.ts");
    return yield* sheets(await readXlsx(source), { reader, notes, name });
  }
  const texts = textOf(source);
  if (ending === "csv" || ending === "tsv") return yield* reader.table(await readCsv(texts, { name, notes }));
  if (isDocument) {
    const text = (await Array.fromAsync(texts)).join("");
    if (text.trim() !== "") yield reader.object({ text }, `${name}:1`);
    return;
  }
  const { beginning, texts: all } = await peek(texts);
  if (beginning === "") return;
  refuseOtherForms(beginning, name);
  let lastLine = 0, row = 0;
  for await (const { text, line } of beginning.startsWith("[") ? elementsOf(all, name) : linesOf(all, name)) {
    if (text.trim() === "") continue;
    row++;
    // Programs write arrays on one line, where the line alone would say nothing.
    yield reader.json(text, line === lastLine ? `${name}:${line}, row ${row}` : `${name}:${line}`);
    lastLine = line;
  }
}

/** The sheets with columns that are known; of a workbook without any, the first one says why. */
async function* sheets(
  tables: Table[],
  { reader, notes, name }: { reader: RowReader; notes: CleaningNote[]; name: string },
): AsyncGenerator<Row> {
  const known = tables.filter(({ columns }) => reader.knows(columns));
  for (const table of tables) {
    if (known.length === 0 || known.includes(table)) yield* reader.table(table);
    else notes.push({ place: table.place, what: `a sheet with other columns in ${name}`, action: "left out" });
  }
}

type RowReader = ReturnType<typeof makeRowReader>;

/** Turns values into rows, all of one form. Errors of its functions: UserError with the place. */
function makeRowReader({ format: wanted = "auto", columns: mapping = null, onShape }: ReadOptions) {
  const shapes = new Map<string, Shape>(), described = new Set<Shape>();
  let format: RowFormat | undefined = wanted === "auto" ? undefined : wanted;
  const shapeFor = (columns: string[]): Shape => {
    const key = columns.join("\n"), shape = shapes.get(key) ?? shapeOf(columns, mapping);
    shapes.set(key, shape);
    return shape;
  };
  const toRow = (value: Record<string, unknown>, place: Place, shape = shapeOfValue(value)): Row => {
    const row = rowOf(value, shape, { place, asChat: wanted === "chat" });
    const found = formatOf(row);
    format ??= found;
    if (found !== format) {
      throw new Advised(`a ${found} row, expected ${format} rows`, "Split the file by form of rows.");
    }
    if (!described.has(shape)) onShape?.(describeShape(shape, row, value));
    described.add(shape);
    return row;
  };
  function shapeOfValue(value: Record<string, unknown>): Shape {
    try {
      return shapeFor(Object.keys(value));
    } catch (error) {
      const inside = Object.keys(value).find((key) => Array.isArray(value[key]) && isObject(value[key][0]));
      if (!(error instanceof ColumnsError) || inside === undefined) throw error;
      throw new Advised(
        `the rows are a list inside ${JSON.stringify(inside.slice(0, 60))}`,
        "Save that list as a file of its own.",
      );
    }
  }
  return {
    knows(columns: string[]): boolean {
      try {
        return shapeOf(columns, mapping) !== undefined;
      } catch (error) {
        if (error instanceof ColumnsError) return false;
        throw error;
      }
    },
    object: (value: unknown, place: Place): Row => placed(place, () => toRow(asObject(value), place)),
    json: (text: string, place: Place): Row => placed(place, () => toRow(asObject(parse(text)), place)),
    async *table(table: Table): AsyncGenerator<Row> {
      const { columns } = table;
      if (columns.length === 0) return;
      const shape = placed(table.place, () => shapeFor(columns));
      const used = Object.values(shape.columns).map((name) => ({ name, at: columns.indexOf(name) }));
      for await (const { place, cells } of table.rows(used.map(({ name }) => name))) {
        const value = Object.fromEntries(used.map(({ name, at }) => [name, cells[at]]));
        yield placed(place, () => toRow(value, place, shape));
      }
    },
  };
}

/** An error with its own advice. */
class Advised extends Error {
  constructor(message: string, readonly hint: string) {
    super(message);
  }
}

function parse(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new Advised(
      `not valid JSON: ${(error as Error).message.replace(/\s+/g, " ").slice(0, 200)}`,
      text.startsWith("{'")
        ? "JSON has double quotes; Python's json.dumps() writes them, str() does not."
        : "Each line must be one whole JSON object. Correct the line, or take it out.",
    );
  }
}

function placed<T>(place: Place, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UserError) throw error;
    const hint = (error as { hint?: string }).hint ?? "Correct the row, or take it out.";
    throw new UserError(`${place}: ${error.message}`, { hint, cause: error });
  }
}

function emptyError(name: string): UserError {
  const table = /\.(csv|tsv|xlsx|parquet)(\.gz)?$/i.test(name), document = /\.(txt|md)(\.gz)?$/i.test(name);
  return new UserError(`${name}: no rows`, {
    hint: document
      ? "The file is empty: write the text to be learnt into it."
      : table
      ? "Write the names of the columns first, for example instruction and output, and a row for each example."
      : 'Write one JSON object per line, for example {"instruction": "...", "input": "", "output": "..."}.',
  });
}

/** CSV, XML, a GGUF file by mistake: told apart by how the content begins. */
function refuseOtherForms(start: string, name: string): void {
  if (start.startsWith("{") || start.startsWith("[")) return;
  const isComment = /^(\/\/|#|\/\*)/.test(start);
  const looksLikeCsv = !isComment && /^[^{}\n]*[,;\t][^{}\n]*$/m.test(start.slice(0, 1000).split("\n", 1)[0]);
  throw new UserError(`${name}: neither jsonl nor json: it begins with ${JSON.stringify(start.slice(0, 40))}`, {
    hint: looksLikeCsv
      ? "This looks like CSV; name it .csv."
      : isComment
      ? "JSON has no comments: take them out."
      : "Give rows as .jsonl, .json, .csv, .tsv, .parquet or .xlsx, or documents as .txt or .md.",
  });
}
