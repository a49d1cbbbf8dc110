/** What a person or a program reads of a data set: `ftl data`'s findings, and their text. */
import { countTokens, type Example } from "../data/examples.ts";
import type { CleaningNote } from "../data/rows.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type DataSettings, showNotes, type TrainingRows } from "./rows.ts";
import { printable } from "./terminal.ts";

export interface DataFindings {
  data: string;
  model: string;
  read_as: string[];
  prompt_style: string;
  rows: {
    read: number;
    /** Rows over max_length are counted apart. */
    dropped: number;
    mended: number;
    near_duplicates: number;
    too_long: number;
    train: number;
    held_out: number;
  };
  /** Examples that training takes in an epoch; of documents, packed rows. */
  examples: number;
  tokens: { total: number; trained: number };
  /** Tokens of a row. */
  length: { median: number; mean: number; p99: number; longest: number };
  histogram: { from: number; to: number; rows: number }[];
  max_length: { now: number; suggested: number; suggested_holds: number; now_holds: number };
  notes: CleaningNote[];
  shown: ShownRow[];
}

export interface ShownRow {
  place: string;
  tokens: number;
  trained: number;
  pieces: Piece[];
}

/** Neighbouring tokens of one kind, as text. */
interface Piece {
  text: string;
  trained: boolean;
  special: boolean;
}

/** Share of rows that the suggested max_length holds at least. */
const wantedShare = 0.995;

export function examineRows(
  rows: TrainingRows,
  { settings, tokenizer, shown }: { settings: DataSettings & { model: string }; tokenizer: Tokenizer; shown: number },
): DataFindings {
  const { dataset, notes, examples, heldExamples } = rows;
  const sorted = Float64Array.from(dataset.lengths).sort();
  const quantile = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  const held = (length: number) => sorted.filter((tokens) => tokens <= length).length / sorted.length;
  const now = settings.max_length, suggested = Math.ceil(quantile(wantedShare) / 64) * 64;
  const counts = [countTokens(examples), countTokens(heldExamples)];
  const isText = dataset.format === "text";
  const rendered = new Set(dataset.places);
  const dropped = notes.filter(({ place, action }) => action === "dropped" && !rendered.has(place)).length;
  const unusable = dataset.lengths.filter((tokens, i) => dataset.examples.lengthAt(i) === 0 && tokens <= now).length;
  return {
    data: rows.files.name,
    model: settings.model,
    read_as: dataset.readAs,
    prompt_style: rows.style ?? "none, documents are packed",
    rows: {
      read: dataset.lengths.length + dropped,
      dropped: dropped + unusable,
      mended: new Set(
        notes.filter(({ place, action }) => rendered.has(place) && !/dropped|kept/.test(action)).map(({ place }) =>
          place
        ),
      ).size,
      near_duplicates: dataset.similar.size,
      too_long: isText ? 0 : sorted.filter((tokens) => tokens > now).length,
      train: rows.train.length,
      held_out: rows.held.length,
    },
    examples: examples.length,
    tokens: {
      total: counts[0].tokens + counts[1].tokens,
      trained: counts[0].trained + counts[1].trained,
    },
    length: {
      median: quantile(0.5),
      mean: Math.round(sorted.reduce((sum, tokens) => sum + tokens, 0) / sorted.length),
      p99: quantile(0.99),
      longest: quantile(1),
    },
    histogram: histogramOf(sorted),
    max_length: { now, suggested, suggested_holds: held(suggested), now_holds: held(now) },
    notes,
    shown: shownRows(rows, { tokenizer, shown }),
  };
}

/** Ten bins of one width, a round number; what lies beyond the 99th percentile is in the last one. */
function histogramOf(sorted: Float64Array): DataFindings["histogram"] {
  const most = sorted[Math.ceil(0.99 * sorted.length) - 1];
  const power = 2 ** Math.max(0, Math.floor(Math.log2(most / 10)));
  const width = power * [1, 1.25, 1.5, 1.75, 2].find((step) => step * power * 10 >= most && step * power % 1 === 0)!;
  const bins = Array.from({ length: 10 }, (_, i) => ({ from: i * width + 1, to: (i + 1) * width, rows: 0 }));
  for (const tokens of sorted) bins[Math.min(9, Math.max(0, Math.ceil(tokens / width) - 1))].rows++;
  bins[9].to = Math.max(bins[9].to, sorted[sorted.length - 1]);
  return bins;
}

function shownRows(
  { dataset, train, examples }: TrainingRows,
  { tokenizer, shown }: { tokenizer: Tokenizer; shown: number },
): ShownRow[] {
  const usable = train.filter((row) => dataset.examples.lengthAt(row) > 0);
  return Array.from({ length: Math.min(shown, examples.length) }, (_, i) => {
    const example = examples.at(i);
    return {
      place: dataset.format === "text" ? `documents, packed: row ${i + 1}` : dataset.places[usable[i]],
      tokens: example.tokens.length,
      trained: example.targets.reduce((sum, target) => sum + target, 0),
      pieces: piecesOf(example, tokenizer),
    };
  });
}

function piecesOf({ tokens, targets }: Example, tokenizer: Tokenizer): Piece[] {
  const pieces: (Omit<Piece, "text"> & { bytes: Uint8Array[] })[] = [];
  tokens.forEach((id, i) => {
    const trained = targets[i] === 1, special = tokenizer.isSpecial(id), last = pieces.at(-1);
    if (last && last.trained === trained && last.special === special) last.bytes.push(tokenizer.bytesOf(id));
    else pieces.push({ trained, special, bytes: [tokenizer.bytesOf(id)] });
  });
  const decoder = new TextDecoder();
  return pieces.map(({ bytes, ...kind }) => ({
    ...kind,
    text: decoder.decode(Uint8Array.from(bytes.flatMap((b) => [...b]))),
  }));
}

/** Everything but the rows themselves. */
export function showFindings(found: DataFindings): string {
  const { rows, tokens, length, max_length } = found;
  const count = (n: number) => n.toLocaleString("en");
  const percent = (share: number) => `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
  const done = [
    rows.dropped > 0 && `${count(rows.dropped)} dropped`,
    rows.mended > 0 && `${count(rows.mended)} mended`,
    rows.near_duplicates > 0 && `${count(rows.near_duplicates)} nearly the same as another, kept`,
    rows.too_long > 0 && `${count(rows.too_long)} longer than max_length ${max_length.now}, left out of training`,
  ].filter((part) => part !== false);
  const packed = found.prompt_style.startsWith("none");
  const width = Math.max(...found.histogram.map(({ rows }) => rows));
  return [
    `data        ${count(rows.read)} rows of ${found.data}`,
    ...found.read_as.map((what) => `            read as ${what}`),
    `cleaned     ${done.join("; ") || "nothing to do"}`,
    ...showNotes(found.notes, { most: 10, where: "--json" }).map((line) => `            ${line}`),
    ...(rows.held_out > 0 ? [`split       ${count(rows.train)} to learn, ${count(rows.held_out)} held out`] : []),
    `model       ${found.model}, prompt style ${found.prompt_style}`,
    `tokens      ${count(tokens.total)}, of which ${count(tokens.trained)} are trained (${
      percent(tokens.trained / tokens.total)
    })`,
    packed
      ? `max_length  ${max_length.now}: ${count(found.examples)} rows packed from ${count(rows.train)} documents`
      : `max_length  ${max_length.now} holds ${percent(max_length.now_holds)} of the rows; ` +
        `${max_length.suggested} would hold ${percent(max_length.suggested_holds)}`,
    `length      median ${length.median}, mean ${length.mean}, 99 % up to ${length.p99}, longest ${length.longest} tokens`,
    ...found.histogram.map(({ from, to, rows }) => {
      const bar = "#".repeat(rows === 0 ? 0 : Math.max(1, Math.round(40 * rows / width)));
      return `            ${`${from}-${to}`.padStart(13)} ${count(rows).padStart(9)} ${bar}`.trimEnd();
    }),
  ].join("\n");
}

/** Characters of a piece that are shown. */
const mostCharacters = 2000;

/** The rows: what is trained is coloured, or stands in [brackets] where there are no colours. */
export function showRows({ shown }: DataFindings, { colours }: { colours: boolean }): string {
  if (shown.length === 0) return "";
  const legend = colours ? `${green("trained")} and ${dim("not trained")}` : "[trained] and not trained";
  const rows = shown.map(({ place, tokens, trained, pieces }) =>
    `${place}  ${tokens} tokens, ${trained} trained\n${colours ? coloured(pieces) : bracketed(pieces)}`
  );
  return [`The first rows, ${legend}:`, ...rows].join("\n\n");
}

function coloured(pieces: Piece[]): string {
  return pieces.map(({ text, trained, special }) => {
    const shown = special ? bold(clip(text)) : clip(text);
    return trained ? green(shown) : dim(shown);
  }).join("");
}

function bracketed(pieces: Piece[]): string {
  return pieces.map(({ text, trained }, i) => {
    const begins = trained && !pieces[i - 1]?.trained, ends = trained && !pieces[i + 1]?.trained;
    return `${begins ? "[" : ""}${clip(text)}${ends ? "]" : ""}`;
  }).join("");
}

function clip(text: string): string {
  const half = mostCharacters / 2, left = text.length - mostCharacters;
  return printable(left <= 0 ? text : `${text.slice(0, half)} ... ${left} characters ... ${text.slice(-half)}`);
}

const green = (text: string) => `\x1b[32m${text}\x1b[39m`;
const dim = (text: string) => `\x1b[2m${text}\x1b[22m`;
const bold = (text: string) => `\x1b[1m${text}\x1b[22m`;
