/** The report in a real browser, offline: nothing wider than the screen, readable in light and dark, complete in print. */
import assert from "node:assert/strict";
import { documentTest } from "../helpers/chromium.ts";
import { drawReport, reportData } from "../helpers/report_data.ts";

const html = () => drawReport(reportData());

for (const width of [320, 390, 1280]) {
  documentTest(
    `the report fits a screen of ${width}`,
    { html, context: { viewport: { width, height: 800 } } },
    async (page) => {
      assert.equal(await page.evaluate("document.documentElement.scrollWidth"), width);
      assert.equal(await page.locator("script, img").count(), 0);
      assert.equal(await page.locator("figure svg").count(), 6);
      // Small text in a figure is as large as it is drawn.
      const smallest = await page.evaluate(
        `Math.min(...[...document.querySelectorAll("figure svg text")].map((text) => {
        const { a, b } = text.getScreenCTM(); // turned labels too
        return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
      }))`,
      ) as number;
      assert.ok(smallest >= 7, `${smallest} px`);
    },
  );
}

for (const colorScheme of ["light", "dark"] as const) {
  documentTest(`text can be told from its ground, ${colorScheme}`, { html, context: { colorScheme } }, async (page) => {
    const contrast = await page.evaluate(`(() => {
      const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const sheet = light(getComputedStyle(document.querySelector("figure")).backgroundColor);
      return [...document.querySelectorAll("figure svg text, dt, td, small, .soft, summary")].map((element) => {
        const style = getComputedStyle(element);
        const [a, b] = [light(element.closest("svg") ? style.fill : style.color), sheet].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
    })()`) as number[];
    assert.ok(contrast.length > 20);
    assert.ok(contrast.every((ratio) => ratio >= 4.5), `${Math.min(...contrast)}`);
  });
}

documentTest("a long answer is cut on the screen, whole on a click and in print", { html }, async (page) => {
  const answer = page.locator(".long").first(), height = async () => (await answer.boundingBox())!.height;
  const cut = await height();
  await answer.locator("summary").click();
  const whole = await height();
  assert.ok(whole > 1.5 * cut, `${cut} ${whole}`);
  await answer.locator("summary").click();
  assert.equal(await height(), cut);
  await page.emulateMedia({ media: "print" });
  const displayed = await page.evaluate("getComputedStyle(document.querySelector('.long span')).display");
  assert.equal(displayed, "inline", "no box that cuts");
});

documentTest("print shows what is folded", { html }, async (page) => {
  const folded = page.locator("details pre").last();
  await page.evaluate("document.querySelector('details:not(.long)').open = false");
  await page.emulateMedia({ media: "print" });
  assert.ok((await folded.boundingBox())!.height > 10);
});
