/**
 * Rows of a Parquet file, one row group at a time, only the columns that matter (by hyparquet). What the file says of its
 * own sizes is checked against its length before anything is read, since the file may come from anywhere.
 */
import type { FileMetaData } from "hyparquet";
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { checkLists } from "./parquet_lists.ts";
import { checkPages } from "./parquet_pages.ts";
import { cellText, type Table, type TableRow } from "./tables.ts";

/** More bytes in a page than any program writes. */
const mostPageBytes = 1 << 30;
/**
 * Values of a column in a row group: so many, or as many as 64 a byte of the file where that is more. Runs of one value
 * take no room in a file, but each value does in memory.
 */
const mostValues = 1 << 20, mostPerByte = 64;

/** Errors: UserError for a damaged file, with the row group where that is known. */
export async function readParquet(source: ByteSource): Promise<Table> {
  const { parquetMetadataAsync, parquetScan, parquetSchema } = await import("hyparquet");
  const { name } = source;
  const file = {
    byteLength: source.size,
    // Throws for ranges outside the file, before anything of their size is made.
    slice: (start: number, end = source.size) => copyOf(source.read(start, Math.min(end, source.size) - start)),
  };
  const metadata = await guarded(name, async () => {
    checkFooter(source);
    return checked(await parquetMetadataAsync(file), source.size);
  });
  const columns = await guarded(name, () => parquetSchema(metadata).children.map((child) => child.element.name));
  async function* rows(wanted: string[]): AsyncGenerator<TableRow> {
    const indices = wanted.map((column) => columns.indexOf(column));
    const compressors = await limitedCompressors();
    const scan = await guarded(name, () => parquetScan({ file, metadata, columns: wanted, compressors }));
    for (const range of scan.ranges) {
      const group = groupOf(range.rowStart, metadata);
      const where = `${name}:row group ${group + 1}`;
      await guarded(where, () => checkPages(group, { source, metadata, wanted, compressors }));
      const data = await guarded(
        where,
        () => Promise.all(wanted.map((column) => scan.readColumn({ column, ...range }))),
      );
      const count = range.rowEnd - range.rowStart;
      const short = data.findIndex((column) => column.length !== count);
      if (short >= 0) throw damaged(where, `column ${wanted[short]} has ${data[short].length} of ${count} values`);
      for (let row = 0; row < count; row++) {
        const cells: unknown[] = [];
        data.forEach((column, i) => cells[indices[i]] = cellText(column[row]));
        yield { place: `${name}:row ${range.rowStart + row + 1} in group ${group + 1}`, cells };
      }
    }
  }
  return { columns, place: name, rows };
}

/** Index of the row group that holds a row of the file. Groups without rows have no range of their own in a scan. */
function groupOf(row: number, { row_groups: groups }: FileMetaData): number {
  let end = 0;
  return groups.findIndex(({ num_rows }) => (end += Number(num_rows)) > row);
}

/** The description at the end of the file: its length, u32, and "PAR1" after it. Nonsense is left to the reader. */
function checkFooter(source: ByteSource): void {
  if (source.size < 12) return;
  const [length] = new Uint32Array(copyOf(source.read(source.size - 8, 4)));
  if (length + 12 <= source.size) checkLists(source.read(source.size - 8 - length, length));
}

/** Errors: Error that says which number cannot be. */
function checked(metadata: FileMetaData, size: number): FileMetaData {
  const most = Math.max(mostValues, mostPerByte * size);
  for (const [i, group] of metadata.row_groups.entries()) {
    const rows = Number(group.num_rows);
    if (!(rows >= 0 && rows <= most)) throw new Error(`row group ${i + 1} says it has ${rows} rows`);
    for (const { meta_data: column } of group.columns) {
      if (!column) throw new Error(`row group ${i + 1} has a column without description`);
      const start = Number(column.dictionary_page_offset || column.data_page_offset);
      const length = Number(column.total_compressed_size);
      if (!(start >= 0 && length >= 0 && start + length <= size)) {
        throw new Error(
          `column ${column.path_in_schema.join(".")} lies at ${start} to ${start + length} of ${size} bytes`,
        );
      }
      const values = Number(column.num_values);
      if (!(values >= rows && values <= most)) {
        throw new Error(`column ${column.path_in_schema.join(".")} says it has ${values} values in ${rows} rows`);
      }
    }
  }
  return metadata;
}

/** The decompressors, which make an array of the size that a page claims, held back from sizes that cannot be. */
async function limitedCompressors() {
  const { compressors } = await import("hyparquet-compressors");
  return Object.fromEntries(
    Object.entries(compressors).map(([codec, unpack]) => [codec, (input: Uint8Array, length: number) => {
      if (!(length >= 0 && length <= mostPageBytes)) throw new Error(`a page says it has ${length} bytes`);
      // Of nothing, LZ4 makes a block that its decompressor does not take.
      return length === 0 ? new Uint8Array(0) : unpack(input, length);
    }]),
  );
}

/** Anything that goes wrong inside the reader means a damaged file. */
async function guarded<T>(where: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw damaged(where, (error as Error).message, error);
  }
}

function damaged(where: string, what: string, cause?: unknown): UserError {
  return new UserError(`${where}: damaged or unknown Parquet data: ${what.replace(/\s+/g, " ").slice(0, 200)}`, {
    hint: "Fetch or write the file again.",
    cause,
  });
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer as ArrayBuffer : new Uint8Array(bytes).buffer;
}
