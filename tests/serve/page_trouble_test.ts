/** The chat page when things go wrong: keys, queues, long conversations, broken streams, a server that is away. */
import assert from "node:assert/strict";
import { type Script, startChatServer, twoModels } from "../helpers/chat_server.ts";
import { browserTest } from "../helpers/chromium.ts";

const info = { ...twoModels, models: twoModels.models.slice(0, 1) };
const answers = ".answer > .prose";
const refuse = (status: number, error: unknown, headers?: Record<string, string>): Script => ({
  refuse: { status, body: { error }, headers },
});
const refused = /Failed to load resource/;

browserTest("a server with a key is asked with it, kept for the tab alone", {
  answer: () => ({ pieces: ["hello"] }),
  info,
  key: "open sesame",
  expected: refused,
}, async ({ page, texts, ask }) => {
  await page.locator("#key-dialog").waitFor();
  await page.fill("#key", "wrong");
  await page.press("#key", "Enter");
  await page.locator("#key-wrong").waitFor();
  await page.fill("#key", "open sesame");
  await page.press("#key", "Enter");
  await page.locator(".examples").waitFor();
  await page.locator("#model-0").waitFor();
  await ask("q");
  assert.deepEqual(await texts(answers), ["hello"]);
  await page.reload();
  await ask("again");
  assert.equal((await texts(answers)).length, 2);
  assert.equal(await page.evaluate("JSON.stringify(localStorage).includes('sesame')"), false);
});

browserTest("a key that is not given leaves a page that can ask for it again", {
  answer: () => ({ pieces: ["hello"] }),
  info,
  key: "k",
  expected: refused,
}, async ({ page, texts }) => {
  await page.locator("#key-dialog").waitFor();
  await page.keyboard.press("Escape");
  assert.match((await texts("#banner"))[0], /answers only with its key/);
  await page.click("text=Enter the key");
  await page.fill("#key", "k");
  await page.press("#key", "Enter");
  await page.locator("#model-0").waitFor();
  assert.equal(await page.locator("#banner").isVisible(), false);
});

browserTest("a busy server is asked again after as long as it says", {
  answer: (_, count) =>
    count === 1 ? refuse(429, { message: "busy" }, { "retry-after": "2" }) : { pieces: ["now", " free"] },
  info,
  expected: refused,
}, async ({ page, server, texts }) => {
  await page.fill("#question", "q");
  const begun = Date.now();
  await page.press("#question", "Enter");
  await page.locator(".note", { hasText: "asking again in" }).waitFor();
  await page.locator(answers, { hasText: "now free" }).waitFor();
  assert.ok(Date.now() - begun > 1900);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(await texts(".note:visible"), []);
});

browserTest("a conversation beyond the context says so and keeps every answer", {
  answer: (_, count) =>
    count === 1 ? { pieces: ["kept"] } : refuse(400, {
      message: "This model's maximum context length is 2048 tokens; the request has 3000 tokens",
      code: "context_length_exceeded",
      type: "exceed_context_size_error",
    }),
  info,
  expected: refused,
}, async ({ page, texts, ask }) => {
  await ask("one");
  await ask("two");
  assert.equal((await texts(answers))[0], "kept");
  assert.match((await texts(".note:visible"))[0], /maximum context length is 2048 tokens.*Edit this question/);
  await page.reload();
  assert.equal((await texts(answers))[0], "kept");
});

browserTest("an answer that is cut off keeps its text, with the server's words", {
  answer: (_, count) => {
    if (count === 1) return { pieces: ["half ", "of it"], cut: true };
    if (count === 2) return { pieces: ["some"], error: { message: "the GPU was lost" } };
    return { pieces: ["much"], finish: "length" };
  },
  info,
}, async ({ texts, ask }) => {
  await ask("one");
  await ask("two");
  await ask("three");
  assert.deepEqual(await texts(answers), ["half of it", "some", "much"]);
  const notes = await texts(".note:visible");
  assert.match(notes[0], /connection broke off.*What had arrived is kept/);
  assert.match(notes[1], /The server says: the GPU was lost\. What had arrived is kept/);
  assert.match(notes[2], /The answer ends here/);
});

browserTest("without its server the page stays usable, and what was asked is sent when it is back", {
  answer: () => ({ pieces: ["first"] }),
  info,
  expected: refused,
}, async ({ page, server, texts, ask }) => {
  await ask("one");
  await server.close();
  await page.fill("#question", "two");
  await page.press("#question", "Enter");
  await page.locator("#banner", { hasText: "does not answer" }).waitFor();
  assert.match((await texts(".note:visible"))[0], /This is asked when it is back/);
  // Everything that is the page's own goes on.
  await page.keyboard.press("Control+k");
  await page.locator(".examples").waitFor();
  await page.click(".entry-open");
  assert.deepEqual((await texts(answers))[0], "first");
  const back = startChatServer({ answer: () => ({ pieces: ["back again"] }), info, port: server.port });
  try {
    await page.locator(answers, { hasText: "back again" }).waitFor({ timeout: 20_000 });
    assert.equal(await page.locator("#banner").isVisible(), false);
  } finally {
    await page.goto("about:blank");
    await back.close();
  }
});

browserTest(
  "a full storage is told of, and the page goes on",
  { answer: () => ({ pieces: ["fine"] }), info },
  async (visit) => {
    const { page, texts, ask } = visit;
    await page.evaluate("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }");
    await ask("one");
    assert.deepEqual(await texts(answers), ["fine"]);
    assert.match((await texts(".toast"))[0], /storage is full/);
  },
);

const growing = { ...twoModels, models: twoModels.models.slice(0, 1) };
browserTest("a model that is added while the page is open can be chosen when somebody comes back to it", {
  answer: () => ({ pieces: ["hello"] }),
  info: growing,
}, async ({ page, texts, ask }) => {
  await ask("one");
  growing.models = twoModels.models;
  await page.evaluate("dispatchEvent(new Event('focus'))");
  await page.locator("#model-0 option", { hasText: "cultural-qa" }).waitFor({ state: "attached" });
  assert.deepEqual(await texts(answers), ["hello"]);
});
