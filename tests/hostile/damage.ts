/**
 * Damage to files, drawn from one stream of random numbers so that a seed gives the same files again: to bytes, to texts,
 * to JSON by its fields, and to files made of a JSON header and data. No format's name is known here.
 */
import { concat, le } from "../helpers/bytes.ts";

/** A stream of 32-bit numbers, as randomBits() makes them. */
export type Random = () => number;

export const pick = <T>(list: readonly T[], random: Random): T => list[random() % list.length];

/** Numbers at which sizes, counts and offsets break. */
const edges: readonly (number | bigint)[] = [
  ...[0, 1, -1, 2, 7, 8, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 100_000_000],
  ...[2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

/** One to four changes to bytes. `others` are files to splice with. */
export function damagedBytes(bytes: Uint8Array, random: Random, others: readonly Uint8Array[] = []): Uint8Array {
  let out: Uint8Array = bytes.slice();
  for (let left = 1 + random() % 4; left > 0; left--) out = changedBytes(out, random, others);
  return out;
}

function changedBytes(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  const at = bytes.length === 0 ? 0 : random() % (bytes.length + 1), length = 1 + random() % 64;
  const head = bytes.subarray(0, at), tail = bytes.subarray(at);
  switch (random() % 9) {
    case 0: // a bit
      if (at < bytes.length) bytes[at] ^= 1 << random() % 8;
      return bytes;
    case 1: // a byte
      if (at < bytes.length) bytes[at] = random();
      return bytes;
    case 2: { // a number, as lengths and counts are written
      const size = pick([1, 2, 4, 8], random), number = le(pick(edges, random), 8).subarray(0, size);
      bytes.set(number.subarray(0, Math.max(0, bytes.length - at)), at);
      return bytes;
    }
    case 3: // a number near the one that stood there
      if (at < bytes.length) bytes[at] += random() % 2 ? 1 : -1;
      return bytes;
    case 4:
      return head.slice();
    case 5:
      return concat([head, tail.subarray(length)]);
    case 6:
      return concat([head, head.subarray(-length), tail]);
    case 7:
      return concat([head, Uint8Array.from({ length: length % 9 }, random), tail]);
    default: {
      if (others.length === 0) return bytes;
      const other = pick(others, random), from = other.length === 0 ? 0 : random() % other.length;
      return concat([head, other.subarray(from, from + length * 4), tail.subarray(length * 4)]);
    }
  }
}

/** What readers of texts stumble over, whatever the text is. */
const scraps = [
  ..."{}[]()\"'`,:;\\|&*!%@#<>=-+~^$?/".split(""),
  ...["\n", "\r\n", "\r", "\t", "\0", "\ufeff", "\u2028", "\ud800", "\udfff", "\u{1f600}", "\u0301", "é"],
  ...["null", "true", "NaN", "Infinity", "-0", "1e999", "-1", "0.1", "9007199254740993", "18446744073709551616"],
  ...["__proto__", "constructor", "toString", "../", "/etc/passwd", "C:\\", "con", "---", "...", "&a", "*a", "<<"],
  ...["\\u0000", "\\ud800", "\\x41", '""', '"":', "[]", "{}", "[[[[", "{{", "}}", "%}", "<?xml", "<!DOCTYPE", "&lt;"],
];

/** One to four changes to a text; `words` are pieces of its language. */
export function damagedText(text: string, random: Random, words: readonly string[] = []): string {
  let out = text;
  for (let left = 1 + random() % 4; left > 0; left--) out = changedText(out, random, words);
  return out.slice(0, 1 << 18);
}

function changedText(text: string, random: Random, words: readonly string[]): string {
  const at = text.length === 0 ? 0 : random() % (text.length + 1), length = 1 + random() % 40;
  const head = text.slice(0, at), tail = text.slice(at);
  const scrap = words.length > 0 && random() % 2 ? pick(words, random) : pick(scraps, random);
  switch (random() % 8) {
    case 0:
      return head + scrap + tail;
    case 1:
      return head + scrap + tail.slice(scrap.length);
    case 2:
      return head + scrap.repeat(1 + random() % pick([3, 30, 3000], random)) + tail;
    case 3:
      return head;
    case 4:
      return head + tail.slice(length);
    case 5:
      return head + head.slice(-length) + tail;
    case 6: { // a number
      const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
      if (numbers.length === 0) return head + scrap + tail;
      const found = pick(numbers, random);
      return text.slice(0, found.index) + pick(edges, random) + text.slice(found.index + found[0].length);
    }
    default: { // two lines change places, or one stands there twice
      const lines = text.split("\n"), i = random() % lines.length, j = random() % lines.length;
      if (random() % 2) lines.splice(j, 0, lines[i]);
      else [lines[i], lines[j]] = [lines[j], lines[i]];
      return lines.join("\n");
    }
  }
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const nested = (depth: number, leaf: Json = 1) => {
  let value: Json = leaf;
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { a: value };
  return value;
};

/** Values of every wrong kind, and of the right kind with wrong content. */
const wrong: readonly (() => Json)[] = [
  ...[null, true, false, 0, 1, -1, 0.5, 7, 65_537, 2 ** 31, 2 ** 53, 1e308, -1e308].map((value) => () => value),
  ...["", "x", "1", "true", "auto", "__proto__", "constructor", "../x", "/etc/passwd", "\ud800", "a\nb", "\0"].map((
    value,
  ) =>
  () => value),
  ...["(a+)+$", "(?:a|a)*b", "[", "\\", "(", "x{99999}"].map((value) => () => value),
  () => "y".repeat(5000),
  () => [],
  () => ({}),
  () => [[]],
  () => [null],
  () => ({ type: "constructor" }),
  () => Array<Json>(300).fill(1),
  () => nested(40),
  () => nested(3000),
];

interface Slot {
  holder: Json[] | { [key: string]: Json };
  key: string | number;
}

/** Every place of a value inside `value`. */
function slotsOf(value: Json, found: Slot[] = [], depth = 0): Slot[] {
  if (typeof value !== "object" || value === null || depth > 50) return found;
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    const holder = value as { [key: string]: Json };
    if (found.length < 20_000) found.push({ holder, key });
    slotsOf(holder[key as string], found, depth + 1);
  }
  return found;
}

/** JSON text with one to three of its fields changed, and now and then a key that stands there twice. */
export function damagedJson(text: string, random: Random): string {
  let root: Json;
  try {
    root = JSON.parse(text);
  } catch {
    return damagedText(text, random);
  }
  for (let left = 1 + random() % 3; left > 0; left--) {
    const slots = slotsOf(root);
    if (slots.length === 0) return JSON.stringify(pick(wrong, random)());
    // Shallow fields say what a file is; deep ones are many.
    const slot = random() % 2 ? pick(slots, random) : slots[random() % Math.min(slots.length, 24)];
    changeField(slot, { slots, random });
  }
  const out = written(root);
  if (random() % 12 > 0) return out;
  return out.replace(/\{("(?:[^"\\]|\\.)*"):/, "{$1:0,$1:");
}

function changeField({ holder, key }: Slot, { slots, random }: { slots: Slot[]; random: Random }): void {
  const object = holder as { [key: string]: Json };
  const name = String(key);
  switch (random() % 6) {
    case 0:
      if (Array.isArray(holder)) holder.splice(key as number, 1);
      else delete object[name];
      return;
    case 1: {
      const other = pick(slots, random);
      object[name] = structuredClone((other.holder as { [key: string]: Json })[other.key as string] ?? null);
      return;
    }
    case 2: // another name
      if (Array.isArray(holder)) holder.push(structuredClone(holder[key as number]));
      else {
        const value = object[name];
        delete object[name];
        const named = pick([name + "x", name.slice(1), "__proto__", "", name.toUpperCase(), "a".repeat(500)], random);
        Object.defineProperty(object, named, { value, enumerable: true, configurable: true, writable: true });
      }
      return;
    case 3: {
      const value = object[name];
      if (typeof value === "string") object[name] = damagedText(value, random).slice(0, 5000);
      else if (typeof value === "number") object[name] = Number(pick(edges, random)) * pick([1, 1, -1, 0.5], random);
      else object[name] = pick(wrong, random)();
      return;
    }
    default:
      object[name] = pick(wrong, random)();
  }
}

/** JSON of any depth: JSON.stringify() gives up at some thousand levels. */
function written(value: Json): string {
  try {
    return JSON.stringify(value);
  } catch {
    return "[".repeat(20_000);
  }
}

/** A file of a little-endian 64-bit length, a JSON header of that length, and data; the length stays right. */
export function damagedHeader(bytes: Uint8Array, random: Random): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = damagedJson(new TextDecoder().decode(bytes.subarray(8, 8 + length)), random);
  const text = new TextEncoder().encode(header);
  return concat([le(text.length, 8), text, bytes.subarray(8 + length)]);
}
