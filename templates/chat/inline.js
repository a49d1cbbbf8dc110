/**
 * Markdown inside a block: strings and { kind, children } of emphasis, code, links and breaks, as plain data. One pass
 * from left to right with a stack of what is open; every search backwards or ahead is bounded or remembered, so that a
 * hostile text costs no more than a long one.
 */

const deepestMark = 12;
const entities = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": "\u00a0" };

/** `open`: the text is still being written, what is unclosed at its end counts as closed there. */
export function parseInline(text, open = false, inLink = false) {
  if (open) text = text.replace(/[*_~`]{1,3}$/, "");
  const reader = {
    text,
    at: 0,
    open,
    inLink,
    stack: [{ mark: "", children: [] }],
    unclosedTicks: new Set(),
    brackets: null,
  };
  while (reader.at < text.length) readOne(reader);
  while (reader.stack.length > 1) dropFrame(reader, open);
  return reader.stack[0].children;
}

const add = (reader, node) => {
  const { children } = reader.stack.at(-1);
  if (typeof node === "string" && typeof children.at(-1) === "string") children[children.length - 1] += node;
  else children.push(node);
};

function readOne(reader) {
  const { text, at } = reader;
  const char = text[at];
  if (char === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) return literal(reader, 2, text[at + 1]);
  if (char === "\n" || (char === "\\" && text[at + 1] === "\n")) {
    add(reader, { kind: "break" });
    reader.at += char === "\n" ? 1 : 2;
    return;
  }
  if (char === "`" && readCode(reader)) return;
  if ((char === "*" || char === "_" || char === "~") && readMark(reader)) return;
  if (!reader.inLink && (char === "[" || (char === "!" && text[at + 1] === "[")) && readLink(reader)) return;
  if (char === "<" && readAngle(reader)) return;
  if (!reader.inLink && char === "h" && readAddress(reader)) return;
  if (char === "&") {
    const entity = Object.keys(entities).find((name) => text.startsWith(name, at));
    if (entity) return literal(reader, entity.length, entities[entity]);
  }
  // Everything up to the next character that could mean something.
  const plain = /[^\\\n`*_~[!<h&]+/y;
  plain.lastIndex = at;
  const run = plain.exec(text)?.[0] ?? char;
  literal(reader, run.length, run);
}

function literal(reader, length, text) {
  add(reader, text);
  reader.at += length;
}

/** The run of the same character that begins at `at`. */
function runAt(text, at) {
  let end = at;
  while (text[end] === text[at]) end++;
  return text.slice(at, end);
}

function readCode(reader) {
  const { text, at } = reader;
  const ticks = runAt(text, at);
  const start = at + ticks.length;
  let end = -1;
  if (!reader.unclosedTicks.has(ticks.length)) {
    for (let from = start; from < text.length;) {
      const next = text.indexOf("`", from);
      if (next < 0) break;
      const run = runAt(text, next);
      if (run.length === ticks.length) {
        end = next;
        break;
      }
      from = next + run.length;
    }
    if (end < 0) reader.unclosedTicks.add(ticks.length);
  }
  if (end < 0) {
    if (!reader.open) {
      literal(reader, ticks.length, ticks);
      return true;
    }
    end = text.length;
  }
  const code = text.slice(start, end).replace(/\n/g, " ");
  // One space on each side is for backticks at the code's own ends.
  const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
  add(reader, { kind: "code", text: isPadded ? code.slice(1, -1) : code });
  reader.at = Math.min(text.length, end + ticks.length);
  return true;
}

/** "*", "**", "***", "_", "__" and "~~" open where a word begins and close where one ends. */
function readMark(reader) {
  const { text, at } = reader;
  const run = runAt(text, at);
  const before = text[at - 1] ?? " ";
  const after = text[at + run.length] ?? " ";
  const inWord = /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);
  const canOpen = !/\s/.test(after) && !(run[0] === "_" && inWord);
  const canClose = !/\s/.test(before) && !(run[0] === "_" && inWord);
  if (run.length > 3 || (run[0] === "~" && run.length !== 2) || (!canOpen && !canClose)) {
    literal(reader, run.length, run);
    return true;
  }
  reader.at += run.length;
  let left = run;
  while (canClose && left.length > 0) {
    const index = reader.stack.findLastIndex((frame) => frame.mark !== "" && left.startsWith(frame.mark));
    if (index < 1) break;
    while (reader.stack.length > index + 1) dropFrame(reader, false);
    const frame = reader.stack.pop();
    add(reader, { kind: kinds[frame.mark], children: frame.children });
    left = left.slice(frame.mark.length);
  }
  if (left.length > 0 && canOpen && reader.stack.length < deepestMark) {
    const marks = left.length === 3 ? [left.slice(0, 2), left[0]] : [left];
    for (const mark of marks) reader.stack.push({ mark, children: [], inWord });
  } else if (left.length > 0) add(reader, left);
  return true;
}

const kinds = { "*": "em", "_": "em", "**": "strong", "__": "strong", "~~": "strike" };

/** An unclosed mark: text after all, or closed here where the text is still being written. */
function dropFrame(reader, close) {
  const { mark, children, inWord } = reader.stack.pop();
  if (close && !inWord && children.length > 0) return add(reader, { kind: kinds[mark], children });
  if (!close || children.length > 0) add(reader, mark);
  for (const child of children) add(reader, child);
}

/** For every "[" the place of its "]", found once. */
function matchBrackets(text) {
  const pairs = new Map();
  const opened = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "[") opened.push(at);
    else if (text[at] === "]" && opened.length > 0) pairs.set(opened.pop(), at);
  }
  return pairs;
}

function readLink(reader) {
  const { text, at } = reader;
  const image = text[at] === "!";
  const bracket = image ? at + 1 : at;
  reader.brackets ??= matchBrackets(text);
  const close = reader.brackets.get(bracket);
  if (close === undefined || text[close + 1] !== "(") return false;
  const label = text.slice(bracket + 1, close);
  const [target, end] = readTarget(text, close + 2);
  if (target === null && !(reader.open && end >= text.length)) return false;
  const href = target === null ? null : safeAddress(target);
  const children = parseInline(label, false, true);
  if (image) children.unshift(label.trim() === "" ? "image" : "image: ");
  // An address that is not allowed, or has not arrived yet, leaves its label.
  if (href) add(reader, { kind: "link", href, children });
  else for (const child of children) add(reader, child);
  reader.at = end;
  return true;
}

/** The address inside "(...)", its title left out; null where there is no end within reason. */
function readTarget(text, from) {
  let depth = 1;
  const limit = Math.min(text.length, from + 2000);
  for (let at = from; at < limit; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "\n") return [null, at];
    else if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) {
      const inside = text.slice(from, at).trim().replace(/\s+("[^"]*"|'[^']*')$/, "");
      return [inside.replace(/^<(.*)>$/, "$1"), at + 1];
    }
  }
  return [null, limit];
}

/** Only what is known to be harmless is an address. */
export function safeAddress(text) {
  try {
    const url = new URL(text.trim());
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** "<https://...>" and "<br>"; all other markup is text. */
function readAngle(reader) {
  const { text, at } = reader;
  const found = /<(?:(br)\s?\/?|((?:https?:\/\/|mailto:)[^\s<>]{1,2000}))>/iy;
  found.lastIndex = at;
  const match = found.exec(text);
  if (!match) return false;
  const href = match[2] && safeAddress(match[2]);
  if (match[1]) add(reader, { kind: "break" });
  else if (href && !reader.inLink) add(reader, { kind: "link", href, children: [match[2]] });
  else add(reader, match[0]);
  reader.at += match[0].length;
  return true;
}

function readAddress(reader) {
  const { text, at } = reader;
  if (/[\p{L}\p{N}]/u.test(text[at - 1] ?? " ")) return false;
  const found = /https?:\/\/[^\s<>"'`|]{1,2000}/y;
  found.lastIndex = at;
  const match = found.exec(text);
  if (!match) return false;
  let address = match[0].replace(/[.,;:!?*_~\]}]+$/, "");
  if (address.endsWith(")") && !address.includes("(")) address = address.replace(/\)+[.,;:!?]*$/, "");
  const href = safeAddress(address);
  if (!href) return false;
  add(reader, { kind: "link", href, children: [address] });
  reader.at += address.length;
  return true;
}
