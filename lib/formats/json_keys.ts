/**
 * Finds what JSON.parse hides: a key written twice in one object (the last would win silently).
 * Assumes text that JSON.parse has accepted.
 */

/** The first repeated key of any object in `text`, with the UTF-8 offset of its second occurrence. */
export function duplicateKey(text: string): { key: string; offset: number } | undefined {
  /** Keys seen in each open object; null for an open array. */
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b) open.push(new Set());
    else if (c === 0x5b) open.push(null);
    else if (c === 0x7d || c === 0x5d) open.pop();
    else if (c === 0x22) {
      const start = i;
      for (i++; text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
      const keys = open.at(-1);
      if (!keys || !isKey(text, i + 1)) continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      if (keys.has(key)) return { key, offset: new TextEncoder().encode(text.slice(0, start)).length };
      keys.add(key);
    }
  }
  return undefined;
}

/** Whether the string that ended before `i` is followed by a colon. */
function isKey(text: string, i: number): boolean {
  while (" \t\n\r".includes(text[i])) i++;
  return text[i] === ":";
}
