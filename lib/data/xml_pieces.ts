/**
 * Elements and texts of an XML file that comes in pieces (parsed by saxen). Names are told without their namespaces'
 * prefixes, entities are decoded; what a file defines itself, as a document type, is not looked at. Nothing is held but
 * the names of open elements and the text in hand, each of bounded length.
 */
import { Parser } from "saxen";

export interface XmlHandlers {
  /** `attributes` is called only where they matter. */
  open?(name: string, attributes: () => Attributes): void;
  text?(text: string): void;
  close?(name: string): void;
}

type Decode = (text: string) => string;

export type Attributes = Record<string, string | undefined>;

/** UTF-16 units that are parsed at a time, and the most between two tags or in one. */
const parsedAtOnce = 1 << 16, longestText = 1 << 20;
/** Elements inside each other; a sheet has some ten. */
const deepest = 100;

/**
 * Tells the handlers what is in the file, and yields after each piece, so that what they gathered can be passed on.
 * Errors: Error for a file that is not XML, and what `pieces` or the handlers throw.
 */
export async function* parseXml(
  pieces: AsyncIterable<Uint8Array>,
  { open, text, close }: XmlHandlers,
): AsyncGenerator<void> {
  const parser = new Parser(), decoder = new TextDecoder();
  let depth = 0, silent = 0;
  parser.on("openTag", (name: string, attributes: () => Record<string, string>, decode: Decode, closed: boolean) => {
    silent = 0;
    if (!closed && ++depth > deepest) throw new Error(`more than ${deepest} elements inside each other`);
    open?.(local(name), () => decoded(attributes(), decode));
  });
  parser.on("closeTag", (name: string, _decode: Decode, opened: boolean) => {
    silent = 0;
    if (!opened) depth--;
    close?.(local(name));
  });
  if (text) {
    parser.on("text", (piece: string, decode: Decode) => text(unescaped(piece, decode)));
    parser.on("cdata", text);
  }
  function* parsed(xml: string): Generator<void> {
    for (let at = 0; at < xml.length; at += parsedAtOnce) {
      const piece = xml.slice(at, at + parsedAtOnce);
      silent += piece.length;
      parser.write(piece);
      // What is not complete yet is held by the parser.
      if (silent > longestText) throw new Error(`more than ${longestText} characters without a tag`);
      yield;
    }
  }
  for await (const piece of pieces) yield* parsed(decoder.decode(piece, { stream: true }));
  yield* parsed(decoder.decode());
  parser.end();
  yield;
}

function local(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

function decoded(attributes: Record<string, string>, decode: Decode): Attributes {
  const found: Attributes = {};
  for (const name in attributes) {
    if (!name.startsWith("xmlns")) found[local(name)] = unescaped(attributes[name], decode);
  }
  return found;
}

const numbered = /&#(?:x0*([0-9a-f]{5,6})|0*(\d{5,7}));/gi;

/** Characters beyond U+FFFF that are written by their number, as some programs write emoji, are lost by the parser's own. */
function unescaped(text: string, decode: Decode): string {
  if (!text.includes("&#")) return decode(text);
  return decode(text.replace(numbered, (all, hexadecimal, decimal) => {
    const code = hexadecimal ? parseInt(hexadecimal, 16) : Number(decimal);
    return code > 0xffff && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  }));
}
