/** What a model writes becomes text and a few known elements, whatever it is and however far it has come. */
import assert from "node:assert/strict";
import { highlight } from "../../templates/chat/highlight.js";
import { parseInline, safeAddress } from "../../templates/chat/inline.js";
import { parseMarkdown } from "../../templates/chat/markdown.js";
import { twoModels } from "../helpers/chat_server.ts";
import { browserTest } from "../helpers/chromium.ts";

// deno-lint-ignore no-explicit-any -- The page's modules have no types.
type Any = any;
const kinds = (text: string, open = false) => parseMarkdown(text, open).map(({ kind }: Any) => kind);
const info = { ...twoModels, models: twoModels.models.slice(0, 1) };

/** Inline nodes as tags. */
function tags(nodes: Any[]): string {
  return nodes.map((node) => {
    if (typeof node === "string") return node;
    if (node.kind === "break") return "/";
    if (node.kind === "link") return `[${tags(node.children)}](${node.href})`;
    return `<${node.kind}>${node.text ?? tags(node.children)}</${node.kind}>`;
  }).join("");
}
const inline = (text: string, open = false) => tags(parseInline(text, open));

Deno.test("parseMarkdown() knows the blocks that models write", () => {
  assert.deepEqual(
    kinds("# A\ntext\n- a\n- b\n\n1. c\n\n> q\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```js\nx\n```\n***\nend"),
    ["heading", "paragraph", "list", "list", "quote", "table", "code", "rule", "paragraph"],
  );
  const [list] = parseMarkdown("3. a\n   - b\n     - c\n4. d\n\n   more\n- [x] other list") as Any[];
  assert.deepEqual([list.ordered, list.start, list.items.length], [true, 3, 2]);
  assert.equal(list.items[0].blocks[1].items[0].blocks[1].items[0].blocks[0].text, "c");
  assert.deepEqual(list.items[1].blocks.map(({ text }: Any) => text), ["d", "more"]);
  const [table] = parseMarkdown("a | b\n--:|---\n`x|y` | \\|\nonly one |") as Any[];
  assert.deepEqual([table.head, table.align, table.rows], [["a", "b"], ["right", "left"], [["`x|y`", "|"], [
    "only one",
    "",
  ]]]);
  const [code] = parseMarkdown("````md\n```js\nx\n```\n````") as Any[];
  assert.deepEqual([code.language, code.text], ["md", "```js\nx\n```"]);
  const [nested] = parseMarkdown("- run\n  ```sh\n  ls\n    -l\n  ```") as Any[];
  assert.equal(nested.items[0].blocks[1].text, "ls\n  -l");
});

Deno.test("parseMarkdown() of a text that is still coming reads its end as what it is about to be", () => {
  const code = "```python\nprint(1)\n";
  assert.deepEqual(kinds(code, true), ["code"]);
  for (const half of ["`", "``"]) assert.equal((parseMarkdown(code + half, true)[0] as Any).text, "print(1)");
  assert.deepEqual(kinds("| a | b |", true), ["table"]);
  assert.deepEqual(kinds("| a | b |\n|--", true), ["table"]);
  assert.deepEqual(kinds("| a | b |"), ["paragraph"]);
  for (const marker of ["-", "*", "#", "##", "1.", "``", ">", "**"]) {
    assert.deepEqual(kinds(`text\n\n${marker}`, true), ["paragraph"]);
  }
  assert.deepEqual(kinds("42", true), ["paragraph"]);
});

Deno.test("parseInline() knows emphasis, code, links and breaks", () => {
  const cases = [
    [
      "**b** *i* ***both*** ~~s~~ `c`",
      "<strong>b</strong> <em>i</em> <strong><em>both</em></strong> <strike>s</strike> <code>c</code>",
    ],
    ["snake_case_name 2 * 3 * 4 a*b", "snake_case_name 2 * 3 * 4 a*b"],
    ["**a *b* c**", "<strong>a <em>b</em> c</strong>"],
    ["**never closed", "**never closed"],
    ["`` a`b `` `**x**`", "<code>a`b</code> <code>**x**</code>"],
    ["\\*x\\* &lt;b&gt; a<br>b\nc", "*x* <b> a/b/c"],
    ['[a **b**](https://e.org/x_(y) "t")', "[a <strong>b</strong>](https://e.org/x_(y))"],
    [
      "see https://e.org/a_b?c=1. (https://e.org/)",
      "see [https://e.org/a_b?c=1](https://e.org/a_b?c=1). ([https://e.org/](https://e.org/))",
    ],
    ["[x](javascript:alert(1)) [y](/here) ![z](https://e.org/i.png)", "x y [image: z](https://e.org/i.png)"],
    ["<script>alert(1)</script>", "<script>alert(1)</script>"],
  ];
  for (const [text, expected] of cases) assert.equal(inline(text), expected);
});

Deno.test("parseInline() of a text that is still coming closes what is open", () => {
  assert.equal(inline("a **bold te", true), "a <strong>bold te</strong>");
  assert.equal(inline("a **bold**", true), "a <strong>bold</strong>");
  assert.equal(inline("a **", true), "a ");
  assert.equal(inline("a `code", true), "a <code>code</code>");
  assert.equal(inline("see [the page](https://exa", true), "see the page");
  assert.equal(inline("2*3 is", true), "2*3 is");
});

Deno.test("safeAddress() lets three protocols pass", () => {
  for (const good of ["https://e.org/", "http://e.org/a", "mailto:a@e.org"]) assert.equal(safeAddress(good), good);
  const bad = [
    "javascript:x",
    " JaVaScRiPt:x",
    "java\nscript:x",
    "\u0001javascript:x",
    "data:text/html,x",
    "vbscript:x",
    "file:///x",
    "blob:x",
    "//e.org",
    "x",
    "",
  ];
  for (const address of bad) assert.equal(safeAddress(address), null, address);
});

Deno.test("highlight() keeps every character", () => {
  const code = '# c\ndef f(x): return \'a\\\'b\' + """t\n""" + 0x1F  # d 😀 $# "open\nx = `';
  for (const language of ["python", "js", "sql", "html", "css", "json", "sh", "", "no-such"]) {
    assert.equal(highlight(code, language).map(([, text]: Any) => text).join(""), code);
  }
  assert.ok(highlight("return 1", "js").some(([kind]: Any) => kind === "keyword"));
});

Deno.test("hostile texts take no longer than long ones", () => {
  const many = 20_000;
  const texts = [
    "[",
    "[a](",
    "![",
    "*a",
    "**",
    "_ ",
    "`",
    "`` ` ",
    "> ",
    "- ",
    "  - ",
    "1. ",
    "|",
    "| -",
    "#",
    "<",
    "<http://",
    "http://",
    "&amp",
    "\\",
    "~~x",
    "(",
    "((",
    "a\n===\n",
    "```\n",
    "|a|\n|-|\n",
    " \t",
    "*a_b",
    "- a\n  > ",
  ]
    .map((piece) => piece.repeat(many));
  const random = seeded(7);
  const marks = "*_~`[]()!<>#-+|\\\n \n 1.ab:/h";
  for (let i = 0; i < 300; i++) {
    texts.push(Array.from({ length: 200 }, () => marks[Math.floor(random() * marks.length)]).join(""));
  }
  for (const text of texts) {
    for (const open of [false, true]) {
      const begun = performance.now();
      walk(parseMarkdown(text, open), open);
      const took = performance.now() - begun;
      assert.ok(took < 3000, `${JSON.stringify(text.slice(0, 12))} took ${took} ms`);
    }
  }
});

function walk(blocks: Any[], open: boolean): void {
  for (const block of blocks) {
    if (block.text !== undefined && block.kind !== "code") parseInline(block.text, open);
    if (block.blocks) walk(block.blocks, open);
    for (const item of block.items ?? []) walk(item.blocks, open);
    for (const cell of [...(block.head ?? []), ...(block.rows ?? []).flat()].slice(0, 1000)) parseInline(cell, open);
  }
}

function seeded(state: number): () => number {
  return () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
}

const hostile = [
  "<script>globalThis.ran = 1</script><img src=x onerror='globalThis.ran = 1'><svg onload='globalThis.ran = 1'></svg>",
  "[a](javascript:globalThis.ran=1) [b](JAVASCRIPT:globalThis.ran=1) [c](data:text/html,<script>1</script>) <javascript:ran=1>",
  '![x](https://example.invalid/spy.png) ![y](x" onerror="globalThis.ran=1)',
  "[d](https://e.org/\"onmouseover=\"globalThis.ran=1) <a href='javascript:ran=1' onclick=ran=1>e</a> <style>*{display:none}</style>",
  "```html\n<script>globalThis.ran = 1</script>\n</code></pre><script>globalThis.ran = 1</script>\n```",
  "| <img src=x onerror=globalThis.ran=1> | b |\n|---|---|\n| <iframe srcdoc='<script>parent.ran=1</script>'> | **open",
  "# <b onmouseover=globalThis.ran=1>h</b>\n> - <object data=x>\n\n```unclosed <script>\nlast",
].join("\n\n");

// Without the policy, so that it is the page itself that lets nothing run.
for (const bypassCSP of [false, true]) {
  browserTest(`no script, markup or address of a model lives${bypassCSP ? ", even without the policy" : ""}`, {
    // A character at a time, so that every beginning is shown too.
    answer: () => ({ pieces: hostile.match(/[^]{1,3}/g)! }),
    info,
    context: { bypassCSP },
  }, async ({ page, texts, ask }) => {
    await page.evaluate(`
      globalThis.ran = 0;
      globalThis.strange = [];
      new MutationObserver(() => {
        for (const element of document.querySelectorAll(".answer *")) {
          const name = element.localName;
          if (/^(script|img|iframe|object|embed|style|link|form|base|meta)$/.test(name)) strange.push(name);
          for (const attribute of element.attributes) if (/^on|^style$|^srcdoc$|^src$/.test(attribute.name)) strange.push(attribute.name);
          if (name === "a" && !/^https?:/.test(element.href)) strange.push(element.href);
        }
      }).observe(document.getElementById("thread"), { childList: true, subtree: true });
    `);
    await ask("<img src=x onerror='globalThis.ran = 1'><script>globalThis.ran = 1</script>");
    await page.reload();
    await page.locator(".prose table").waitFor();
    for (const link of await page.locator(".prose a").all()) {
      assert.match((await link.getAttribute("rel"))!, /noopener/);
      assert.match((await link.getAttribute("href"))!, /^https:/);
    }
    assert.equal(await page.evaluate("globalThis.ran ?? 0"), 0);
    assert.deepEqual(await page.evaluate("globalThis.strange ?? []"), []);
    assert.match((await texts(".answer > .prose"))[0], /^<script>globalThis\.ran = 1<\/script><img src=x/);
    assert.equal(await page.locator(".answer :is(script, img, iframe, object, style)").count(), 0);
  });
}
