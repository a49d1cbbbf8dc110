/**
 * What an Excel workbook (.xlsx) says of its sheets: their names, where they lie in the archive, the list of texts that
 * their cells name, and which styles of cells are dates. ECMA-376 part 1 (the elements: section 18, the relationships: 9).
 */
import { posix } from "node:path";
import { openZip, type ZipEntry } from "../formats/zip.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { makePackedTexts, type PackedTexts } from "./packed_texts.ts";
import { type Attributes, parseXml } from "./xml_pieces.ts";
import { makeTextGatherer } from "./xlsx_text.ts";

export interface Workbook {
  sheets: { name: string; entry: ZipEntry }[];
  /** What cells name by number. */
  texts: PackedTexts;
  /** For each style of cells, whether its numbers are days. */
  dateStyles: boolean[];
  /** Days are counted from 1904, as old Macs did, not from 1900. */
  from1904: boolean;
}

/** A real workbook unpacks to some ten times its size; whatever it says, beyond so many times it is made to do harm. */
const mostUnpacked = 200, alwaysUnpacked = 1 << 24;
/** Sheets, styles and the like; Excel allows 65,490 styles. */
const mostListed = 1 << 16;

/** Errors: Error for a damaged file, UserError of the source. */
export async function openWorkbook(source: ByteSource): Promise<Workbook> {
  if (source.size >= 4 && source.read(0, 4).every((byte, i) => byte === [0xd0, 0xcf, 0x11, 0xe0][i])) {
    throw new Error("it is an .xls file, or has a password");
  }
  const entries = await openZip(source), unpacked = entries.reduce((sum, { size }) => sum + size, 0);
  if (unpacked > alwaysUnpacked + mostUnpacked * source.size) {
    throw new Error(`it cannot unpack to ${unpacked} bytes`);
  }
  // Names of parts do not differ by capitals.
  const parts = new Map(entries.map((entry) => [entry.name.toLowerCase(), entry]));
  const part = (path: string) => parts.get(path.toLowerCase());
  const root = [...(await readRelations("", part)).values()].find(({ type }) => type === "officeDocument");
  const path = root?.path ?? "xl/workbook.xml", workbook = part(path);
  if (!workbook) throw new Error("there is no workbook in it");
  const relations = await readRelations(path, part);
  const pathOf = (wanted: string) => [...relations.values()].find(({ type }) => type === wanted)?.path;
  const { listed, from1904 } = await readWorkbook(workbook);
  const sheets = listed.flatMap(({ name, id }) => {
    const { type, path } = relations.get(id) ?? {}, entry = path === undefined ? undefined : part(path);
    if (type !== undefined && type !== "worksheet") return []; // a chart
    if (!entry) throw new Error(`its sheet ${JSON.stringify(name)} is not there`);
    return [{ name, entry }];
  });
  if (new Set(sheets.map(({ entry }) => entry)).size < sheets.length) throw new Error("two of its sheets are one");
  return {
    sheets,
    from1904,
    texts: await readTexts(part(pathOf("sharedStrings") ?? "xl/sharedStrings.xml")),
    dateStyles: await readDateStyles(part(pathOf("styles") ?? "xl/styles.xml")),
  };
}

/** By id, what a part refers to: the last word of the relationship's type, and the path in the archive. */
async function readRelations(from: string, part: (path: string) => ZipEntry | undefined) {
  const { dir, base } = posix.parse(from), relations = new Map<string, { type: string; path: string }>();
  await readElements(part(posix.join(dir, "_rels", `${base}.rels`)), (name, attributes) => {
    if (name !== "Relationship") return;
    const { Id = "", Type = "", Target = "" } = attributes();
    if (relations.size === mostListed) throw new Error(`more than ${mostListed} relationships`);
    const path = posix.join("/", Target.startsWith("/") ? "" : dir, Target).slice(1);
    relations.set(Id, { type: Type.slice(Type.lastIndexOf("/") + 1), path });
  });
  return relations;
}

async function readWorkbook(entry: ZipEntry) {
  const listed: { name: string; id: string }[] = [];
  let from1904: boolean | undefined;
  await readElements(entry, (element, attributes) => {
    // Some programs write a second one, which Excel does not look at.
    if (element === "workbookPr") from1904 ??= /^(1|true)$/.test(attributes().date1904 ?? "");
    if (element !== "sheet") return;
    const { name = "", id = "" } = attributes();
    if (listed.length === mostListed) throw new Error(`more than ${mostListed} sheets`);
    // It stands in messages of one line.
    listed.push({ name: name.replace(/\p{Cc}/gu, " ").slice(0, 100), id });
  });
  return { listed, from1904: from1904 ?? false };
}

/** The shared texts; without a file of them, none. */
async function readTexts(entry: ZipEntry | undefined): Promise<PackedTexts> {
  const texts = makePackedTexts(), { open, close, text, start, end } = makeTextGatherer();
  let inside = false;
  if (!entry) return texts;
  const handlers = {
    open(name: string) {
      if (name === "si") inside = true, start();
      else if (inside) open(name);
    },
    text,
    close(name: string) {
      if (name === "si") inside = false, texts.add(end());
      else if (inside) close(name);
    },
  };
  for await (const _ of parseXml(entry.pieces(), handlers));
  return texts;
}

/** Numbers of built-in formats that are dates or times, some of them in East Asia and Thailand: 18.8.30. */
const builtInDates = [[14, 22], [27, 36], [45, 47], [50, 58], [71, 81]];

async function readDateStyles(entry: ZipEntry | undefined): Promise<boolean[]> {
  const formats = new Map<number, boolean>(), base: boolean[] = [], styles: boolean[] = [];
  let list: boolean[] | undefined;
  const isDate = ({ numFmtId, xfId }: Attributes) => {
    if (numFmtId === undefined) return base[Number(xfId)] ?? false;
    const id = Number(numFmtId);
    return formats.get(id) ?? builtInDates.some(([first, last]) => id >= first && id <= last);
  };
  await readElements(entry, (name, attributes) => {
    if (name === "cellStyleXfs") list = base;
    else if (name === "cellXfs") list = styles;
    else if (name === "cellStyles" || name === "dxfs") list = undefined;
    else if (name === "xf") list?.push(isDate(attributes()));
    else if (name === "numFmt") {
      const { numFmtId, formatCode = "" } = attributes();
      // Lower ones are built in, whatever the file says of them; Excel takes those from 100 on.
      if (Number(numFmtId) >= 100) formats.set(Number(numFmtId), isDateFormat(formatCode));
    }
    if (formats.size + base.length + styles.length > 2 * mostListed) throw new Error("more styles than can be");
  });
  return styles;
}

/** Parts of a format for days and times: 18.8.31. */
const dateParts = /^(s{1,2}|m{1,5}|h{1,2}|d{1,4}|a{3,5}|y|yy|yyyy|e|ee|eeee|am|pm|a|p)$/;

/** Whether a format's code, in one of its sections, is made of parts of a date or time alone: "d/m/yy h:mm;@", "[h]:mm". */
export function isDateFormat(code: string): boolean {
  const sections = code.toLowerCase().replace(/;@$/, "").replace(/\\./g, " ").split(";");
  return sections.some((section) => {
    const words = section.replace(/"[^"]*"/g, " ")
      .replace(/(\[?[smhd]{1,2}\]?)[.,]00?0?/g, "$1") // parts of a second
      .replace(/\[([smhd]{1,2})\]/g, "$1") // time elapsed
      .replace(/\[[^\]]*\]/g, "") // colour, condition, language
      .match(/[a-z0#?%]+/g);
    return words !== null && words.every((word) => dateParts.test(word));
  });
}

/** Tells of all elements of a small part, if there is one. */
async function readElements(
  entry: ZipEntry | undefined,
  open: (name: string, attributes: () => Attributes) => void,
): Promise<void> {
  if (!entry) return;
  for await (const _ of parseXml(entry.pieces(), { open }));
}
