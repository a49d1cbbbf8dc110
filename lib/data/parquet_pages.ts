/**
 * Walks over the pages of a Parquet row group before they are decoded. The decoder makes as many values as a page says it
 * has, run after run; a damaged number would keep it busy for minutes and fill the memory. Here every number is held
 * against that of the column first. Layout: https://parquet.apache.org/docs/file-format/data-pages/
 */
import type { Compressors, FileMetaData, PageHeader } from "hyparquet";
import type { ByteSource } from "../formats/byte_source.ts";
import { checkLists } from "./parquet_lists.ts";

/** Bytes in which the description of a page is looked for first, and at most: it may hold values of the column. */
const headerBytes = [1 << 12, 1 << 24];

export interface PageCheck {
  source: ByteSource;
  metadata: FileMetaData;
  /** Columns that are going to be read. */
  wanted: string[];
  compressors: Compressors;
}

/** Errors: Error for numbers that contradict those of the column. */
export async function checkPages(group: number, { source, metadata, wanted, compressors }: PageCheck): Promise<void> {
  const [{ parquetHeader }, { getMaxDefinitionLevel, getMaxRepetitionLevel, getSchemaPath }] = await Promise.all([
    import("hyparquet/column"),
    import("hyparquet/schema"),
  ]);
  for (const { meta_data: column } of metadata.row_groups[group].columns) {
    if (!column || !wanted.includes(column.path_in_schema[0])) continue;
    const path = getSchemaPath(metadata.schema, column.path_in_schema);
    const levels = [getMaxRepetitionLevel(path), getMaxDefinitionLevel(path)].map((level) => 32 - Math.clz32(level));
    const unpack = (bytes: Uint8Array, length: number) => {
      if (column.codec === "UNCOMPRESSED") return bytes;
      const unpacked = compressors[column.codec]?.(bytes, length);
      if (!unpacked) throw new Error(`unknown compression ${column.codec}`);
      return unpacked;
    };
    const all = Number(column.num_values);
    let at = Number(column.dictionary_page_offset || column.data_page_offset), values = 0;
    const end = at + Number(column.total_compressed_size);
    while (at < end - 1 && values < all) {
      const { header, length } = readHeader(at, end);
      const size = header.compressed_page_size;
      const { num_values: count = 0 } = header.data_page_header ?? header.data_page_header_v2 ??
        header.dictionary_page_header ?? {};
      if (!(count >= 0 && count <= all && size >= 0 && at + length + size <= end)) {
        throw new Error(`a page at byte ${at} says it has ${count} values in ${size} bytes`);
      }
      checkPage(source.read(at + length, size), header, { levels, unpack });
      if (header.type !== "DICTIONARY_PAGE") values += count;
      at += length + size;
    }
    if (values !== all) throw new Error(`column ${column.path_in_schema.join(".")} has ${values} of ${all} values`);
  }

  function readHeader(at: number, end: number): { header: PageHeader; length: number } {
    for (const most of headerBytes) {
      const bytes = new Uint8Array(source.read(at, Math.min(most, end - at)));
      const reader = { view: new DataView(bytes.buffer), offset: 0 };
      try {
        checkLists(bytes);
        return { header: parquetHeader(reader), length: reader.offset };
      } catch (error) {
        if (bytes.length < most) throw error;
      }
    }
    throw new Error(`a page at byte ${at} has no end of its description`);
  }
}

interface PageParts {
  /** Bits of a repetition and of a definition level. */
  levels: number[];
  unpack: (bytes: Uint8Array, length: number) => Uint8Array;
}

/** The runs of levels and of dictionary indices. */
function checkPage(bytes: Uint8Array, header: PageHeader, { levels, unpack }: PageParts): void {
  const { data_page_header: v1, data_page_header_v2: v2, uncompressed_page_size: size } = header;
  if (v2) {
    const lengths = [v2.repetition_levels_byte_length, v2.definition_levels_byte_length];
    const levelBytes = lengths[0] + lengths[1];
    const nulls = v2.num_nulls;
    if (
      !(lengths.every((length) => length >= 0) && levelBytes <= bytes.length && nulls >= 0 && nulls <= v2.num_values)
    ) {
      throw new Error(`a page has ${nulls} nulls of ${v2.num_values} values, ${levelBytes} bytes of levels`);
    }
    if (levels[0] > 0) checkLevels(bytes.subarray(0, lengths[0]), levels[0], v2.num_values);
    if (levels[1] > 0) checkLevels(bytes.subarray(lengths[0], levelBytes), levels[1], v2.num_values);
    const rest = bytes.subarray(levelBytes);
    const data = v2.is_compressed !== false && size > levelBytes ? unpack(rest, size - levelBytes) : rest;
    checkIndices(data, v2.encoding, v2.num_values - nulls);
  } else if (v1) {
    const data = unpack(bytes, size);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    let at = 0;
    for (const width of levels.filter((width) => width > 0)) {
      const length = view.getUint32(at, true);
      checkLevels(data.subarray(at + 4, at + 4 + length), width, v1.num_values);
      at += 4 + length;
    }
    checkIndices(data.subarray(at), v1.encoding, v1.num_values);
  }
}

function checkIndices(data: Uint8Array, encoding: string, count: number): void {
  if (/DICTIONARY/.test(encoding)) checkRuns(data.subarray(1), data[0], count);
  else if (encoding === "RLE") checkRuns(data.subarray(4), 1, count);
}

/** There is a level for every value. With fewer the decoder would take what comes next for runs. */
function checkLevels(bytes: Uint8Array, width: number, count: number): void {
  const values = checkRuns(bytes, width, count);
  if (values < count) throw new Error(`${values} levels in a page of ${count} values`);
}

/** Values by which the last packed run may be filled up: to eight as the format says, to a block of 256 by DuckDB. */
const mostPadding = 512;

/** How many values runs of `width` bits a value hold; throws for more than `count`, the last run filled up. */
function checkRuns(bytes: Uint8Array, width: number, count: number): number {
  let values = 0;
  for (let at = 0; at < bytes.length && values < count;) {
    let run = 0;
    for (let shift = 0, byte = 0x80; byte & 0x80; shift += 7) {
      byte = bytes[at++] ?? 0;
      run += (byte & 0x7f) * 2 ** shift;
    }
    const packed = run % 2 === 1, length = packed ? Math.floor(run / 2) * 8 : run / 2;
    at += packed ? Math.floor(run / 2) * width : Math.ceil(width / 8);
    values += length;
    if (values >= count + (packed ? mostPadding : 8)) {
      throw new Error(`a run of ${length} values in a page of ${count}`);
    }
  }
  return values;
}
