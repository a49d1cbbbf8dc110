/**
 * An answer's text as elements. While it is being written only the block that changed is painted again: what stands
 * above it keeps its place, and a selection in it.
 */
import { copyButton, el } from "./dom.js";
import { highlight } from "./highlight.js";
import { parseInline } from "./inline.js";
import { parseMarkdown } from "./markdown.js";

/** What each painted element holds, by element. */
const painted = new WeakMap();

export function paintMarkdown(container, text, open) {
  const blocks = parseMarkdown(text, open);
  const before = painted.get(container) ?? [];
  const now = blocks.map((block, index) => {
    const key = `${block.kind} ${block.open} ${block.source}`;
    if (before[index]?.key === key) return before[index];
    const element = paintBlock(block);
    if (before[index]) before[index].element.replaceWith(element);
    else container.append(element);
    return { key, element };
  });
  for (const { element } of before.slice(now.length)) element.remove();
  painted.set(container, now);
}

function paintBlock(block) {
  const inline = (text, open = block.open) => parseInline(text, open).map(paintInline);
  switch (block.kind) {
    // A page has its own headings above those of an answer.
    case "heading":
      return el(`h${Math.min(6, block.level + 2)}`, { class: `h${block.level}` }, ...inline(block.text));
    case "paragraph":
      return el("p", {}, ...inline(block.text));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(paintBlock));
    case "list":
      return paintList(block);
    case "table":
      return paintTable(block, inline);
    case "code":
      return paintCode(block);
  }
}

function paintInline(node) {
  if (typeof node === "string") return node;
  switch (node.kind) {
    case "break":
      return el("br");
    case "code":
      return el("code", {}, node.text);
    case "link":
      return el(
        "a",
        { href: node.href, target: "_blank", rel: "noopener noreferrer nofollow" },
        ...node.children.map(paintInline),
      );
    default:
      return el({ em: "em", strong: "strong", strike: "s" }[node.kind], {}, ...node.children.map(paintInline));
  }
}

function paintList({ ordered, start, loose, items }) {
  const list = el(ordered ? "ol" : "ul", {
    start: ordered && start !== 1 ? String(start) : null,
    class: loose ? "loose" : null,
  });
  for (const { blocks, checked } of items) {
    const item = el("li", { class: checked === undefined ? null : "task" });
    if (checked !== undefined) {
      item.append(
        el("span", { role: "img", "aria-label": checked ? "done:" : "to do:", class: "box" }, checked ? "☑" : "☐"),
        " ",
      );
    }
    for (const block of blocks) {
      const element = paintBlock(block);
      // A short item is a line, not a paragraph.
      if (!loose && block.kind === "paragraph") item.append(...element.childNodes);
      else item.append(element);
    }
    list.append(item);
  }
  return list;
}

function paintTable({ head, align, rows, open }, inline) {
  const cell = (tag, text, column, isLast) =>
    el(
      tag,
      { class: align[column] === "left" ? null : align[column], scope: tag === "th" ? "col" : null },
      ...inline(text, open && isLast),
    );
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...head.map((text, column) => cell("th", text, column, rows.length === 0)))),
    el(
      "tbody",
      {},
      ...rows.map((row, index) =>
        el("tr", {}, ...row.map((text, column) => cell("td", text, column, index === rows.length - 1)))
      ),
    ),
  );
  // Wide tables scroll on their own, with the keyboard too.
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, table);
}

function paintCode({ language, text }) {
  const code = el("code", {});
  for (const [kind, piece] of highlight(text, language)) {
    code.append(kind ? el("span", { class: `code-${kind}` }, piece) : piece);
  }
  return el(
    "div",
    { class: "code" },
    el("div", { class: "code-head" }, el("span", {}, language || "text"), copyButton("Copy code", () => text)),
    el("pre", { tabindex: "0", role: "region", "aria-label": language ? `Code, ${language}` : "Code" }, code),
  );
}
