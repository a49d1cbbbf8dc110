/**
 * Tests in a real browser. Chromium is looked for on this machine and not fetched; where there is none they are skipped
 * with a line that says so, and fail where FTL_REQUIRE_CHROMIUM=1, as in continuous integration.
 */
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import assert from "node:assert/strict";
import { type ChatServer, type ServerOptions, startChatServer } from "./chat_server.ts";

const required = Deno.env.get("FTL_REQUIRE_CHROMIUM") === "1";
const executablePath = findChromium();
if (!executablePath && !required) {
  console.warn(
    "tests of the chat page are skipped: no Chromium (FTL_CHROMIUM names one, FTL_REQUIRE_CHROMIUM=1 fails)",
  );
}

function findChromium(): string | undefined {
  const named = Deno.env.get("FTL_CHROMIUM");
  if (named) return named;
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const inPath = (Deno.env.get("PATH") ?? "").split(Deno.build.os === "windows" ? ";" : ":")
    .flatMap((folder) => names.map((name) => `${folder}/${name}`));
  const elsewhere = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
  ];
  return [...inPath, ...elsewhere].find(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** One browser for all tests of a file, begun by the first. */
let browser: Promise<Browser> | undefined;

Deno.test.afterAll(async () => await (await browser)?.close());

export interface Visit {
  page: Page;
  server: ChatServer;
  /** The text of all elements that match. */
  texts(selector: string): Promise<string[]>;
  /** Asks by the keyboard and waits until every answer is complete. */
  ask(question: string): Promise<void>;
  /** Waits until nothing is being written. */
  settled(): Promise<void>;
}

interface BrowserTest extends ServerOptions {
  context?: BrowserContextOptions;
  /** Console errors that the test provokes, such as a refused request. */
  expected?: RegExp;
}

/** Declares a test with a page of its own, closed afterwards. What is put into `errors` fails it. */
function pageTest(
  name: string,
  options: BrowserContextOptions | undefined,
  body: (page: Page, errors: string[]) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: !executablePath && !required,
    // The browser outlives a test.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      assert.ok(executablePath, "Chromium is missing; try: apt-get install chromium");
      browser ??= chromium.launch({ executablePath });
      const context = await (await browser).newContext(options);
      const errors: string[] = [];
      try {
        const page = await context.newPage();
        page.on("pageerror", (error) => errors.push(String(error)));
        await body(page, errors);
        assert.deepEqual(errors, []);
      } finally {
        await context.close();
      }
    },
  });
}

/** Opens the page before a server of scripted answers. An error in the page, or a broken policy, fails the test. */
export function browserTest(name: string, options: BrowserTest, body: (visit: Visit) => Promise<void>): void {
  pageTest(name, options.context, async (page, errors) => {
    const server = startChatServer(options);
    try {
      page.setDefaultTimeout(10_000);
      page.on("console", (message) => {
        if (message.type() === "error" && !options.expected?.test(message.text())) errors.push(message.text());
      });
      const settled = () => page.locator(".running").first().waitFor({ state: "detached" });
      await page.goto(server.address);
      // Models are there when the server has said who it is.
      if (!options.key) await page.locator("#models").waitFor();
      await body({
        page,
        server,
        texts: (selector) => page.locator(selector).allInnerTexts(),
        async ask(question) {
          await page.locator("#models").waitFor();
          await page.fill("#question", question);
          await page.press("#question", "Enter");
          await settled();
        },
        settled,
      });
      // Before the server goes, which the page may notice.
      assert.deepEqual(errors, []);
    } finally {
      await page.context().close();
      await server.close();
    }
  });
}

/** Opens a document as a file would be, without a network. Errors in it, and anything it asks for, fail the test. */
export function documentTest(
  name: string,
  { html, context }: { html: () => Promise<string>; context?: BrowserContextOptions },
  body: (page: Page) => Promise<void>,
): void {
  pageTest(name, { offline: true, ...context }, async (page, errors) => {
    const file = Deno.makeTempFileSync({ suffix: ".html" });
    try {
      Deno.writeTextFileSync(file, await html());
      page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
      page.on("request", (request) => request.url().startsWith("file:") || errors.push(request.url()));
      await page.goto(`file://${file}`);
      await body(page);
    } finally {
      Deno.removeSync(file);
    }
  });
}
