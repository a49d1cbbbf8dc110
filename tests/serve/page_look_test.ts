/** The chat page for every reader: narrow screens, dark rooms, keyboards alone, screen readers. */
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { inPieces } from "../helpers/chat_server.ts";
import { browserTest } from "../helpers/chromium.ts";

const rich = `# Head\n\nText with \`code\` and [link](https://e.org/${"long".repeat(40)}) and ${"x".repeat(120)}.

\`\`\`python
print("${"wide ".repeat(40)}")  # comment
\`\`\`

| a | b | c | d | e | f |
|---|---|---|---|---|---|
| ${Array(6).fill("some words here").join(" | ")} |

- [x] done
- item
  1. nested`;
const answer = () => ({ pieces: inPieces(rich) });

/** What an automatic check can say of names, roles and contrast; each fault as a line. */
const faults = `(() => {
  const found = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("[inert]");
  const name = (element) => (element.getAttribute("aria-label") ?? [...(element.labels ?? [])].map((label) => label.textContent).join("")).trim() || element.textContent.trim();
  const what = (element) => element.outerHTML.slice(0, 90);
  for (const element of document.querySelectorAll("button, a[href], input, select, textarea, summary, [role=region], section, nav, dialog, fieldset")) {
    if (!shown(element)) continue;
    const named = element.getAttribute("aria-labelledby") ? document.getElementById(element.getAttribute("aria-labelledby"))?.textContent : name(element);
    if (!named) found.push("no name: " + what(element));
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push("id twice: " + id);
  for (const element of document.querySelectorAll("[aria-controls], [aria-describedby], [aria-labelledby], [for]")) {
    for (const attribute of ["aria-controls", "aria-describedby", "aria-labelledby", "for"]) {
      for (const id of (element.getAttribute(attribute) ?? "").split(" ").filter(Boolean)) if (!ids.includes(id)) found.push(attribute + " of nothing: " + id);
    }
  }
  for (const element of document.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) found.push("tab order: " + what(element));
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) found.push("not one main and h1");
  let level = 0;
  for (const heading of document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")) {
    const now = Number(heading.localName[1]);
    if (now > level + 1) found.push("heading " + now + " after " + level);
    level = now;
  }
  for (const live of document.querySelectorAll("[aria-live], [role=status], [role=log], [role=alert]")) if (live.closest("#thread")) found.push("live region that hears every token");
  // Contrast by WCAG: colours are read back from a canvas, which knows every notation.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement;
    if (node.data.trim() === "" || !shown(element) || element.closest("script, style, noscript, option, .unseen, .skip, :disabled, :disabled + span")) continue;
    let behind = element, back = [0, 0, 0, 0];
    while (behind && back[3] < 255) { back = rgba(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(back)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(((a + 0.05) / (b + 0.05)).toFixed(2) + " contrast: " + node.data.trim().slice(0, 40) + " in " + what(element));
  }
  return found;
})()`;

async function assertNoFaults(page: Page, where: string): Promise<void> {
  assert.deepEqual(await page.evaluate(faults), [], where);
}

for (const colorScheme of ["light", "dark"] as const) {
  browserTest(
    `names, roles, headings and contrast are right, ${colorScheme}`,
    { answer, context: { colorScheme } },
    async ({ page, ask }) => {
      await page.locator(".examples").waitFor();
      await assertNoFaults(page, "empty");
      await ask("q");
      await assertNoFaults(page, "answered");
      await page.click("[aria-label='Edit question']");
      await assertNoFaults(page, "editing");
      await page.keyboard.press("Escape");
      await page.click("#settings-open");
      await assertNoFaults(page, "settings");
    },
  );
}

browserTest(
  "dark and light follow the system until they are chosen",
  { answer, context: { colorScheme: "dark" } },
  async ({ page }) => {
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await ground();
    await page.emulateMedia({ colorScheme: "light" });
    const light = await ground();
    assert.notEqual(dark, light);
    await page.click("#theme");
    await page.click("#theme");
    assert.equal(await page.getAttribute("#theme", "aria-label"), "Colours: dark");
    assert.equal(await ground(), dark);
    await page.reload();
    assert.equal(await ground(), dark);
  },
);

for (const width of [320, 390, 768]) {
  browserTest(`nothing is wider than a screen of ${width}`, {
    answer,
    context: { viewport: { width, height: 740 }, hasTouch: true },
  }, async (visit) => {
    const { page, ask } = visit;
    const overflow = async (where: string) => {
      const wide = await page.evaluate(
        "[document.documentElement.scrollWidth, scroller.scrollWidth - scroller.clientWidth + innerWidth]",
      );
      assert.deepEqual(wide, [width, width], where);
      // What lies beyond the edge without a scroll bar cannot be reached either.
      const beyond = await page.evaluate(`[...document.querySelectorAll("button, select, textarea, input, .answer")]
        .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".table, pre, .unseen, [inert]"))
        .filter((element) => { const { left, right } = element.getBoundingClientRect(); return left < -1 || right > innerWidth + 1; })
        .map((element) => element.outerHTML.slice(0, 80))`);
      assert.deepEqual(beyond, [], where);
    };
    await page.locator(".examples").waitFor();
    await overflow("empty");
    assert.equal(await page.evaluate("scroller.scrollTop"), 0);
    await ask("A question with averyveryverylongwordthatdoesnotendanywhere".repeat(3));
    await overflow("answered");
    await page.click("#settings-open");
    await overflow("settings");
    await page.keyboard.press("Escape");
    await page.click("#side-open");
    await overflow("conversations");
    assert.equal(await page.evaluate("document.activeElement.id"), "side-close");
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate("document.activeElement.id"), "side-open");
  });
}

browserTest("everything is done by the keyboard alone", {
  answer: ({ messages }) => ({ pieces: [`to ${messages.at(-1)!.content}`] }),
}, async (visit) => {
  const { page, texts, settled } = visit;
  await page.locator(".examples").waitFor();
  const focus = () =>
    page.evaluate(
      "document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent",
    ) as Promise<string>;
  assert.equal(await focus(), "question");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await page.locator(".turn").waitFor();
  await settled();
  assert.equal((await texts(".turn h2"))[0], "one\ntwo");
  assert.equal(await focus(), "question");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focus(), "edit");
  await page.keyboard.press("Escape");
  assert.equal(await focus(), "Edit question");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("three");
  await page.keyboard.press("Enter");
  await page.locator("h2", { hasText: "three" }).waitFor();
  await settled();
  assert.equal(await focus(), "question");
  await page.keyboard.press("Control+k");
  assert.deepEqual(await texts(".turn"), []);
  assert.equal(await focus(), "question");
  // Backwards from the field to the list: its menu opens, moves and closes.
  await page.locator(".entry [aria-haspopup]").focus();
  await page.keyboard.press("Enter");
  assert.equal(await focus(), "Rename");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focus(), "Export as Markdown");
  await page.keyboard.press("Escape");
  assert.match(await focus(), /^More for/);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.deepEqual(await texts(".turn h2"), ["three"]);
});

browserTest("screen readers hear a whole answer once, and not its tokens", {
  answer: () => ({ pieces: Array(30).fill("word "), every: 10 }),
}, async ({ page, texts, ask }) => {
  await page.evaluate(`
    globalThis.heard = [];
    new MutationObserver(() => heard.push(announcer.textContent)).observe(announcer, { childList: true });
  `);
  await ask("q");
  await page.locator("#announcer", { hasText: "has answered" }).waitFor({ state: "attached" });
  const heard = await page.evaluate("heard") as string[];
  assert.equal(heard.length, 2);
  assert.match(heard[0], /being written/);
  assert.match(heard[1], /smollm2-135m has answered: word word .*cultural-qa has answered/);
  assert.deepEqual(await page.locator(".answer").first().getAttribute("aria-busy"), "false");
  assert.equal((await texts(".answer")).length, 2);
});

browserTest("who wants less motion sees none", { answer, context: { reducedMotion: "reduce" } }, async ({ page }) => {
  await page.locator(".examples").waitFor();
  await page.evaluate(
    `document.querySelector(".prose") ?? document.body.append(Object.assign(document.createElement("i"), { className: "pulse" }))`,
  );
  const moving = await page.evaluate(`[...document.querySelectorAll("*")].filter((element) => {
    const { animationName, transitionDuration } = getComputedStyle(element);
    return animationName !== "none" || transitionDuration !== "0s";
  }).length`);
  assert.equal(moving, 0);
});
