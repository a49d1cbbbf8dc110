/**
 * Markdown into blocks: plain data, no elements. What is not Markdown is text, HTML included. `open` says that the text
 * is still being written: then its last block is read as what it is about to become, so that nothing flickers.
 */

const fencePattern = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const headingPattern = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const rulePattern = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const quotePattern = /^ {0,3}> ?/;
const itemPattern = /^( *)([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*))?$/;

/** Quotes and lists inside each other beyond this are text: a page must survive a thousand ">". */
const deepest = 8;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

/** Each block has its own source, by which a painter knows what it has painted already. */
export function parseMarkdown(text, open = false) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  if (open) holdBack(lines);
  return parseLines(lines, 0, open);
}

/** A last line of markers alone, such as "-", "##" or "``", is not shown until it is known what follows. */
function holdBack(lines) {
  const last = lines.length - 1;
  if (/^[ \t]*(#{1,6}|[-*+_]{1,2}|\d{1,9}[.)]|`{1,2}|~{1,2}|>)[ \t]*$/.test(lines[last]) && !isInsideFence(lines)) {
    lines.pop();
  }
}

function isInsideFence(lines) {
  let fence = null;
  for (const line of lines.slice(0, -1)) {
    const found = line.match(fencePattern);
    if (!fence) fence = found ? found[1] : null;
    else if (closes(line, fence)) fence = null;
  }
  return fence !== null;
}

const closes = (line, fence) => {
  const bare = line.trim();
  return bare.length >= fence.length && bare === fence[0].repeat(bare.length) && indentOf(line) < 4;
};

function parseLines(lines, depth, open) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const [block, next] = parseBlock(lines, at, depth, open);
    block.source = lines.slice(at, next).join("\n");
    block.open = open && next >= lines.length;
    blocks.push(block);
    at = next;
  }
  return blocks;
}

function parseBlock(lines, at, depth, open) {
  const line = lines[at];
  const fence = line.match(fencePattern);
  if (fence) return parseFence(lines, at, fence);
  const heading = line.match(headingPattern);
  if (heading) {
    return [{
      kind: "heading",
      level: heading[1].length,
      text: (heading[2] ?? "").replace(/[ \t]#+[ \t]*$/, "").trim(),
    }, at + 1];
  }
  if (rulePattern.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < deepest && quotePattern.test(line)) return parseQuote(lines, at, depth, open);
  if (depth < deepest && itemPattern.test(line) && indentOf(line) < 4) return parseList(lines, at, depth, open);
  if (startsTable(lines, at, open)) return parseTable(lines, at);
  if (/^( {4}|\t)/.test(line)) return parseIndented(lines, at);
  return parseParagraph(lines, at, depth, open);
}

function parseFence(lines, at, [, fence, language]) {
  const indent = indentOf(lines[at]);
  const body = [];
  let next = at + 1;
  for (; next < lines.length && !closes(lines[next], fence); next++) {
    body.push(lines[next].slice(Math.min(indent, indentOf(lines[next]))));
  }
  const closed = next < lines.length;
  // A closing fence that has only half arrived is not part of the code.
  if (!closed && body.length > 0 && /^[ \t]*[`~]{1,2}$/.test(body.at(-1)) && body.at(-1).trim()[0] === fence[0]) {
    body.pop();
  }
  return [
    { kind: "code", language: language.trim().split(/[\s{,:]/)[0], text: body.join("\n") },
    closed ? next + 1 : next,
  ];
}

function parseQuote(lines, at, depth, open) {
  let next = at;
  const inner = [];
  for (; next < lines.length && quotePattern.test(lines[next]); next++) {
    inner.push(lines[next].replace(quotePattern, ""));
  }
  return [{ kind: "quote", blocks: parseLines(inner, depth + 1, open && next >= lines.length) }, next];
}

function parseList(lines, at, depth, open) {
  const [, , marker] = lines[at].match(itemPattern);
  const ordered = /\d/.test(marker);
  const outer = indentOf(lines[at]);
  const items = [];
  let loose = false;
  let next = at;
  while (next < lines.length) {
    const found = lines[next].match(itemPattern);
    if (!found || found[1].length >= outer + 2 || /\d/.test(found[2]) !== ordered || rulePattern.test(lines[next])) {
      break;
    }
    // More than four spaces behind a marker are code's own indentation.
    const gap = (found[3] ?? " ").length;
    const content = found[1].length + found[2].length + (gap > 4 ? 1 : gap);
    const inner = [found[4] === undefined ? "" : " ".repeat(gap > 4 ? gap - 1 : 0) + found[4]];
    let end = next + 1;
    for (; end < lines.length; end++) {
      const line = lines[end];
      if (isBlank(line)) inner.push("");
      // Models indent by two where a strict reader wants three: two are enough.
      else if (indentOf(line) >= Math.min(content, found[1].length + 2)) {
        inner.push(line.slice(Math.min(content, indentOf(line))));
      } else if (isBlank(lines[end - 1]) || startsBlock(lines, end, open)) break;
      else inner.push(line);
    }
    while (inner.length > 1 && isBlank(inner.at(-1))) inner.pop();
    if (end < lines.length && isBlank(lines[end - 1]) && isSibling(lines[end], ordered, outer)) loose = true;
    const task = inner[0].match(/^\[([ xX])\] +/);
    if (task) inner[0] = inner[0].slice(task[0].length);
    const blocks = parseLines(inner, depth + 1, open && end >= lines.length);
    items.push({ blocks, ...(task ? { checked: task[1] !== " " } : {}) });
    next = end;
  }
  return [{ kind: "list", ordered, start: ordered ? Number.parseInt(marker) : 1, loose, items }, next];
}

function isSibling(line, ordered, outer) {
  const found = line.match(itemPattern);
  return found !== null && /\d/.test(found[2]) === ordered && found[1].length < outer + 2;
}

/** "| a | b |" -> ["a", "b"]; a bar behind a backslash or inside code is text. */
function cells(line) {
  const found = [""];
  let inCode = false;
  const bare = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  for (let at = 0; at < bare.length; at++) {
    if (bare[at] === "\\" && bare[at + 1] === "|") found[found.length - 1] += bare[++at];
    else if (bare[at] === "|" && !inCode) found.push("");
    else {
      if (bare[at] === "`") inCode = !inCode && bare.indexOf("`", at + 1) > 0;
      found[found.length - 1] += bare[at];
    }
  }
  return found.map((cell) => cell.trim());
}

const isDelimiter = (line) =>
  line.includes("-") && /^[\s|:-]+$/.test(line) && cells(line).every((cell) => /^:?-+:?$/.test(cell));

function startsTable(lines, at, open) {
  if (!lines[at].includes("|")) return false;
  const next = lines[at + 1];
  if (
    next !== undefined && next.includes("-") && isDelimiter(next) &&
    (next.includes("|") || cells(lines[at]).length === 1)
  ) return true;
  // Still being written: a row in bars becomes a table, most likely.
  const last = lines.length - 1;
  return open && lines[at].trim().startsWith("|") && (at === last || (at === last - 1 && /^[\s|:-]*$/.test(next)));
}

function parseTable(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1] ?? "").map((cell) =>
    /^:-*:$/.test(cell) ? "center" : /^-*:$/.test(cell) ? "right" : "left"
  );
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && !isBlank(lines[next]) && lines[next].includes("|"); next++) {
    const row = cells(lines[next]);
    rows.push(head.map((_, column) => row[column] ?? ""));
  }
  return [
    { kind: "table", head, align: head.map((_, column) => align[column] ?? "left"), rows },
    Math.min(next, lines.length),
  ];
}

function parseIndented(lines, at) {
  let next = at;
  const body = [];
  for (; next < lines.length && (isBlank(lines[next]) || /^( {4}|\t)/.test(lines[next])); next++) {
    body.push(lines[next].replace(/^( {1,4}|\t)/, ""));
  }
  while (isBlank(body.at(-1))) {
    body.pop();
    next--;
  }
  return [{ kind: "code", language: "", text: body.join("\n") }, next];
}

/** Whether a line ends the paragraph before it. */
function startsBlock(lines, at, open) {
  const line = lines[at];
  const item = line.match(itemPattern);
  return fencePattern.test(line) || headingPattern.test(line) || rulePattern.test(line) || quotePattern.test(line) ||
    (item !== null && item[4] !== undefined && item[4] !== "" && item[1].length < 4) || startsTable(lines, at, open);
}

function parseParagraph(lines, at, depth, open) {
  const text = [lines[at].trim()];
  let next = at + 1;
  for (; next < lines.length && !isBlank(lines[next]); next++) {
    const underline = lines[next].trim();
    if (/^(=+|-{2,})$/.test(underline)) {
      return [{ kind: "heading", level: underline[0] === "=" ? 1 : 2, text: text.join("\n") }, next + 1];
    }
    // What is nested too deep must not end a paragraph that it would start again.
    if (depth < deepest && startsBlock(lines, next, open)) break;
    if (fencePattern.test(lines[next])) break;
    // Two spaces at a line's end, and any line break: models mean them.
    text.push(lines[next].trim());
  }
  return [{ kind: "paragraph", text: text.join("\n") }, next];
}
