/** The chat page in a real browser: asking, comparing, stopping, branching, and what a reload leaves. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chatPage } from "../../lib/serve/chat_page.ts";
import { type ChatRequest, inPieces, type Script, twoModels } from "../helpers/chat_server.ts";
import { browserTest } from "../helpers/chromium.ts";

const last = ({ messages }: ChatRequest) => messages.at(-1)!.content;

/** Says which model answers what. */
const echo = (request: ChatRequest): Script => ({ pieces: inPieces(`${request.model} hears ${last(request)}`) });
const oneModel = { ...twoModels, models: twoModels.models.slice(0, 1) };

Deno.test("the page is one document with one style and one script, and asks for nothing", () => {
  const html = chatPage();
  assert.equal(html.match(/<script/g)!.length, 1);
  assert.equal(html.match(/<style/g)!.length, 1);
  assert.doesNotMatch(html, /<[^>]+\s(style|on[a-z]+)=/);
  assert.doesNotMatch(html, /(src|href)=["']?(?!data:|#)[^"'\s>]/);
  assert.doesNotMatch(html, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/);
  const script = html.match(/<script>([^]*)<\/script>/)![1];
  assert.doesNotMatch(script, /^(import|export) /m);
  // Parsed, not run.
  new Function(script);
});

Deno.test("the page's modules share one scope: no name is declared twice", () => {
  const script = chatPage().match(/<script>([^]*)<\/script>/)![1];
  const names = [...script.matchAll(/^(?:async )?(?:function\*? |const |let |class )(\w+)/gm)].map(([, name]) => name);
  assert.ok(names.length > 100);
  assert.deepEqual(names.filter((name, index) => names.indexOf(name) !== index), []);
});

browserTest(
  "a single model answers, with its tokens and their speed",
  { answer: echo, info: oneModel },
  async (visit) => {
    const { page, server, texts, ask } = visit;
    await page.locator(".examples button").first().waitFor();
    assert.equal(await page.locator("input[value=compare]").isDisabled(), true);
    await ask("first");
    await ask("second");
    assert.deepEqual(await texts(".answer > .prose"), ["smollm2-135m hears first", "smollm2-135m hears second"]);
    const [{ stream, stream_options, temperature, max_tokens, seed }, { messages }] = server.requests;
    assert.deepEqual({ stream, stream_options, temperature }, {
      stream: true,
      stream_options: { include_usage: true },
      temperature: 0.7,
    });
    assert.deepEqual([max_tokens, seed], [undefined, undefined]);
    assert.deepEqual(messages, [
      { role: "user", content: "first" },
      { role: "assistant", content: "smollm2-135m hears first" },
      { role: "user", content: "second" },
    ]);
    assert.match((await texts(".stats"))[0], /^\d+ tokens/);
    assert.match((await texts("#context"))[0], /^\d+ of 2,048 tokens/);
  },
);

browserTest("base and tuned answer side by side, each with its own past", {
  answer: (request) =>
    last(request) === "same?" ? { pieces: ["yes"] } : { ...echo(request), every: last(request) === "one" ? 300 : 0 },
}, async ({ page, server, texts, ask }) => {
  await page.fill("#question", "one");
  await page.press("#question", "Enter");
  await page.locator(".running").nth(1).waitFor();
  assert.equal(await page.locator(".running").count(), 2);
  await page.locator(".running").first().waitFor({ state: "detached" });
  await ask("two");
  assert.deepEqual(await texts(".answer .model"), ["smollm2-135m", "cultural-qa", "smollm2-135m", "cultural-qa"]);
  assert.deepEqual((await texts(".answer > .prose")).slice(2), ["smollm2-135m hears two", "cultural-qa hears two"]);
  const tuned = server.requests.filter(({ model }) => model === "cultural-qa").at(-1)!;
  assert.deepEqual(tuned.messages.map(({ content }) => content), ["one", "cultural-qa hears one", "two"]);
  const [left, right] = [
    await page.locator(".answer.base").last().boundingBox(),
    await page.locator(".answer.tuned").last().boundingBox(),
  ];
  assert.ok(left!.x + left!.width < right!.x && left!.y === right!.y, "two columns");
  await ask("same?");
  assert.deepEqual(await texts(".same:visible"), ["Word for word the same."]);
  await page.click("#swap");
  await ask("three");
  assert.deepEqual((await texts(".answer .model")).slice(-2), ["cultural-qa", "smollm2-135m"]);
});

browserTest("stopping keeps the text and tells the server; answering again is another version", {
  answer: (_, count) => count === 1 ? { pieces: Array(400).fill("word "), every: 10 } : { pieces: ["short"] },
  info: oneModel,
}, async ({ page, server, texts, settled }) => {
  await page.fill("#question", "long?");
  await page.press("#question", "Enter");
  await page.locator(".prose", { hasText: "word word" }).waitFor();
  await page.press("#question", "Escape");
  await settled();
  assert.match((await texts(".answer > .prose"))[0], /^word word/);
  assert.match((await texts(".note"))[0], /^Stopped\. What had arrived is kept\. Try again/);
  await page.waitForTimeout(100);
  assert.equal(server.aborted, 1);
  await page.click("text=Try again");
  await page.locator(".prose", { hasText: "short" }).waitFor();
  assert.deepEqual(await texts(".versions"), ["2/2"]);
  await page.click("[aria-label='Version before']");
  assert.match((await texts(".answer > .prose"))[0], /^word word/);
});

browserTest("one column alone can answer again beside the other as it was", {
  answer: ({ model }, count) => ({ pieces: [`${model} ${count}`] }),
}, async ({ page, server, texts, ask }) => {
  await ask("q");
  const before = await texts(".answer > .prose");
  await page.locator(".tuned [aria-label='Answer again']").click();
  await page.locator(".prose", { hasText: "cultural-qa 3" }).waitFor();
  assert.deepEqual(await texts(".answer > .prose"), [before[0], "cultural-qa 3"]);
  assert.equal(server.requests.length, 3);
});

browserTest(
  "editing a question begins a branch, and the old one can be gone back to",
  { answer: echo, info: oneModel },
  async (visit) => {
    const { page, texts, ask, settled } = visit;
    await ask("first");
    await ask("second");
    await ask("third");
    await page.locator("[aria-label='Edit question']").nth(1).click();
    await page.fill("#edit", "second, other");
    await page.press("#edit", "Enter");
    await page.locator("h2", { hasText: "second, other" }).waitFor();
    await settled();
    assert.deepEqual(await texts(".turn h2"), ["first", "second, other"]);
    await page.click("[aria-label='Version before']");
    assert.deepEqual(await texts(".turn h2"), ["first", "second", "third"]);
    await page.reload();
    assert.deepEqual(await texts(".turn h2"), ["first", "second", "third"]);
    await page.click("[aria-label='Version after']");
    assert.deepEqual(await texts(".turn h2"), ["first", "second, other"]);
  },
);

browserTest("a reload in the middle of an answer keeps what had arrived", {
  answer: () => ({ pieces: Array(1000).fill("word "), every: 10 }),
  info: oneModel,
}, async ({ page, texts }) => {
  await page.fill("#question", "long?");
  await page.press("#question", "Enter");
  await page.locator(".prose", { hasText: "word word word word" }).waitFor();
  await page.fill("#question", "not sent yet");
  await page.reload();
  assert.match((await texts(".answer > .prose"))[0], /^(word ?){4,}/);
  await page.locator(".note", { hasText: "The page was closed during this answer" }).waitFor();
  assert.equal(await page.inputValue("#question"), "not sent yet");
  assert.equal(await page.locator(".running").count(), 0);
});

browserTest(
  "conversations are renamed, exported, deleted and brought back",
  { answer: echo, info: oneModel },
  async (visit) => {
    const { page, texts, ask } = visit;
    await ask("What is batik?");
    await page.keyboard.press("Control+k");
    await ask("Another");
    assert.deepEqual(await texts(".entry"), ["Another", "What is batik?"]);
    const choose = async (title: string, item: string) => {
      await page.click(`[aria-label='More for ${title}']`);
      await page.click(`#menu >> text=${item}`);
    };
    await choose("What is batik?", "Rename");
    await page.fill(".rename", "Cloth");
    await page.press(".rename", "Enter");
    assert.deepEqual(await texts(".entry"), ["Another", "Cloth"]);
    const download = async (item: string) => {
      const [file] = await Promise.all([page.waitForEvent("download"), choose("Cloth", item)]);
      return [file.suggestedFilename(), readFileSync((await file.path())!, "utf8")];
    };
    assert.deepEqual(await download("Export as Markdown"), [
      "cloth.md",
      "# Cloth\n\n## What is batik?\n\n### smollm2-135m\n\nsmollm2-135m hears What is batik?\n",
    ]);
    const [name, json] = await download("Export as JSON");
    assert.equal(name, "cloth.json");
    const exported = JSON.parse(json);
    assert.deepEqual([exported.version, exported.title, Object.keys(exported.turns).length], [1, "Cloth", 1]);
    await choose("Cloth", "Delete");
    assert.deepEqual(await texts(".entry"), ["Another"]);
    await page.click("text=Undo");
    await page.reload();
    assert.deepEqual(await texts(".entry"), ["Another", "Cloth"]);
  },
);

browserTest(
  "settings reach the server and stay for the next conversation",
  { answer: echo, info: oneModel },
  async (visit) => {
    const { page, server, ask } = visit;
    await page.click("#settings-open");
    await page.fill("#system", "Answer like a sailor.");
    await page.fill("#temperature", "0");
    await page.fill("#top_p", "0.5");
    await page.fill("#max_tokens", "64");
    await page.fill("#seed", "7");
    await page.keyboard.press("Escape");
    await ask("ahoy");
    await page.keyboard.press("Control+k");
    await ask("again");
    for (const { temperature, top_p, max_tokens, seed, messages } of server.requests) {
      assert.deepEqual([temperature, top_p, max_tokens, seed], [0, 0.5, 64, 7]);
      assert.deepEqual(messages[0], { role: "system", content: "Answer like a sailor." });
    }
  },
);

browserTest("the page follows the end only for who is there", {
  answer: () => ({ pieces: Array(120).fill("line\n\n"), every: 8 }),
  info: oneModel,
}, async ({ page, settled }) => {
  const distance = () =>
    page.evaluate("scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight") as Promise<number>;
  await page.fill("#question", "q");
  await page.press("#question", "Enter");
  await page.locator(".prose > p").nth(40).waitFor();
  assert.ok(await distance() < 48);
  await page.evaluate("scroller.scrollTop = 0");
  await page.waitForTimeout(200);
  assert.equal(await page.evaluate("scroller.scrollTop"), 0);
  await settled();
  assert.equal(await page.evaluate("scroller.scrollTop"), 0);
  await page.click("#to-end");
  assert.ok(await distance() < 48);
});
