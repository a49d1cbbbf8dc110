/**
 * Code into coloured pieces: comments, strings, numbers, keywords and names that are called. No grammar: a reader's eye
 * is helped by these five in any language, and a wrong guess harms nothing.
 */

const families = [
  {
    names:
      "js jsx ts tsx javascript typescript java c h cpp c++ cs csharp go rust rs swift kotlin kt php scala dart wgsl glsl",
    line: "//",
    block: ["/*", "*/"],
  },
  {
    names:
      "py python rb ruby sh bash zsh shell console yaml yml toml ini r perl pl make makefile dockerfile elixir julia nim",
    line: "#",
  },
  { names: "sql lua haskell hs ada vhdl", line: "--", block: ["/*", "*/"] },
  { names: "css scss less", block: ["/*", "*/"] },
  { names: "html xml svg vue", block: ["<!--", "-->"] },
  { names: "json jsonl json5" },
];

const keywords = new Set(
  ("abstract and as assert async await auto begin bool boolean break case catch char class const constexpr continue crate " +
    "debugger def default defer del delete do done double elif else elsif end enum esac except export extends extern false " +
    "False fi final finally float fn for foreach from func function global go goto if impl implements import in include " +
    "instanceof int interface is lambda let long loop match mod module move mut namespace new next nil None nonlocal not " +
    "null nullptr of operator or override package pass private protected pub public raise readonly ref require return " +
    "select self Self short signed sizeof static str string struct super switch template then this throw throws trait true " +
    "True try type typedef typeof undefined union unless unsafe unsigned until use using var virtual void volatile when " +
    "where while with yield").split(" "),
);
const sqlKeywords = new Set(
  ("add all alter and as asc avg between by case cast count create cross default delete desc distinct drop else end exists " +
    "foreign from full group having if in index inner insert into is join key left like limit max min not null on or order " +
    "outer over partition primary references right select set sum table then union unique update using values view when " +
    "where with").split(" "),
);

/** Longer code stays plain: it would be coloured again with every token that arrives. */
const longest = 20_000;

/** [kind, text] in order; kind "" is plain. */
export function highlight(code, language) {
  const name = language.toLowerCase();
  const family = families.find(({ names }) => names.split(" ").includes(name));
  if (!family || code.length > longest) return [["", code]];
  const words = name === "sql" ? sqlKeywords : keywords;
  const pieces = [];
  const push = (kind, text) => {
    if (pieces.at(-1)?.[0] === kind) pieces.at(-1)[1] += text;
    else pieces.push([kind, text]);
  };
  for (let at = 0; at < code.length;) {
    const [kind, length] = pieceAt(code, at, family, words, name);
    push(kind, code.slice(at, at + length));
    at += length;
  }
  return pieces;
}

function pieceAt(code, at, { line, block }, words, name) {
  if (block && code.startsWith(block[0], at)) {
    const end = code.indexOf(block[1], at + block[0].length);
    return ["comment", (end < 0 ? code.length : end + block[1].length) - at];
  }
  // "#" inside a word is no comment: $#, a#b.
  if (line && code.startsWith(line, at) && (line !== "#" || /\s|^$/.test(code[at - 1] ?? ""))) {
    const end = code.indexOf("\n", at);
    return ["comment", (end < 0 ? code.length : end) - at];
  }
  const char = code[at];
  if (char === '"' || char === "'" || char === "`") return ["string", stringLength(code, at)];
  const word = /[\p{L}_$@][\p{L}\p{N}_$-]*/uy;
  word.lastIndex = at;
  let found = word.exec(code)?.[0];
  if (found) {
    // A dash belongs to a word in styles and markup only.
    if (!/^(css|scss|less|html|xml|svg|vue|sh|bash|yaml|yml)$/.test(name)) found = found.split("-")[0];
    const known = words === sqlKeywords ? words.has(found.toLowerCase()) : words.has(found);
    if (known) return ["keyword", found.length];
    return [code[at + found.length] === "(" ? "name" : "", found.length];
  }
  const digits = /\d[\w.]*/y;
  digits.lastIndex = at;
  found = digits.exec(code)?.[0];
  return found ? ["number", found.length] : ["", code.codePointAt(at) > 0xffff ? 2 : 1];
}

/** A string ends with its quote, an unclosed one with its line; three quotes and backticks may have many lines. */
function stringLength(code, at) {
  const quote = code[at];
  const triple = quote.repeat(3);
  if (quote !== "`" && code.startsWith(triple, at)) {
    const end = code.indexOf(triple, at + 3);
    return (end < 0 ? code.length : end + 3) - at;
  }
  for (let end = at + 1; end < code.length; end++) {
    if (code[end] === "\\") end++;
    else if (code[end] === quote) return end + 1 - at;
    else if (code[end] === "\n" && quote !== "`") return end - at;
  }
  return code.length - at;
}
