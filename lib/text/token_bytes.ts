/**
 * The bytes that each token stands for. An answer is put together from bytes, since a token may end in the middle of a
 * character, and grammars over tokens are grammars over their bytes.
 */

/** How a vocabulary spells bytes: GPT-2's printable stand-ins, SentencePiece's `<0x0A>` and `▁`, or as they are. */
export type Spelling = "byte level" | "byte fallback" | "plain";

/** The spelling that a tokenizer.json's decoder undoes. */
export function spellingOf(decoder: unknown): Spelling {
  const types = new Set<string>();
  const visit = (step: unknown) => {
    if (typeof step !== "object" || step === null) return;
    const { type, decoders } = step as { type?: unknown; decoders?: unknown };
    if (typeof type === "string") types.add(type);
    if (Array.isArray(decoders)) decoders.forEach(visit);
  };
  visit(decoder);
  if (types.has("ByteLevel")) return "byte level";
  return types.has("ByteFallback") || types.has("Metaspace") || types.has("Replace") ? "byte fallback" : "plain";
}

/** Reads pieces as bytes; `added` tokens are written as they are in every vocabulary. */
export function bytesReader(
  pieces: (string | undefined)[],
  { spelling, added }: { spelling: Spelling; added: ReadonlySet<number> },
): (id: number) => Uint8Array {
  const encoder = new TextEncoder();
  return (id) => {
    const piece = pieces[id] ?? "";
    if (spelling === "plain" || added.has(id)) return encoder.encode(piece);
    if (spelling === "byte fallback") {
      const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
      return byte ? Uint8Array.of(parseInt(byte[1], 16)) : encoder.encode(piece.replaceAll("\u2581", " "));
    }
    const bytes: number[] = [];
    for (const character of piece) {
      const byte = byteOfStandIn.get(character);
      if (byte === undefined) return encoder.encode(piece);
      bytes.push(byte);
    }
    return Uint8Array.from(bytes);
  };
}

/**
 * By byte, the character that GPT-2 spells it as: those that are no printable Latin-1 character are the ones from U+0100 on.
 */
export const standIns: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : next++);
  });
})();

const byteOfStandIn = new Map(standIns.map((character, byte) => [character, byte]));
