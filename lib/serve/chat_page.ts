/**
 * The chat page as one document. Its sources are in templates/chat: modules that import each other, so that editors and
 * lint know them; here imports and the word export are taken out, and what remains is one script in one function. There
 * is no build: the sources are text in the program, bundled or not.
 */
import page from "../../templates/chat/page.html" with { type: "text" };
import base from "../../templates/chat/base.css" with { type: "text" };
import layout from "../../templates/chat/layout.css" with { type: "text" };
import prose from "../../templates/chat/prose.css" with { type: "text" };
import sheets from "../../templates/chat/sheets.css" with { type: "text" };
import side from "../../templates/chat/side.css" with { type: "text" };
import threadStyle from "../../templates/chat/thread.css" with { type: "text" };
import answering from "../../templates/chat/answering.js" with { type: "text" };
import api from "../../templates/chat/api.js" with { type: "text" };
import app from "../../templates/chat/app.js" with { type: "text" };
import composer from "../../templates/chat/composer.js" with { type: "text" };
import connection from "../../templates/chat/connection.js" with { type: "text" };
import conversation from "../../templates/chat/conversation.js" with { type: "text" };
import dom from "../../templates/chat/dom.js" with { type: "text" };
import empty from "../../templates/chat/empty.js" with { type: "text" };
import highlight from "../../templates/chat/highlight.js" with { type: "text" };
import inline from "../../templates/chat/inline.js" with { type: "text" };
import key from "../../templates/chat/key.js" with { type: "text" };
import main from "../../templates/chat/main.js" with { type: "text" };
import markdown from "../../templates/chat/markdown.js" with { type: "text" };
import paint from "../../templates/chat/paint.js" with { type: "text" };
import settings from "../../templates/chat/settings.js" with { type: "text" };
import sidebar from "../../templates/chat/sidebar.js" with { type: "text" };
import store from "../../templates/chat/store.js" with { type: "text" };
import thread from "../../templates/chat/thread.js" with { type: "text" };

const styles = [base, sheets, side, layout, prose, threadStyle];

/** What is computed while a module loads stands before its users: app needs store, main starts all. */
const scripts = [
  ...[dom, markdown, inline, highlight, paint, conversation, store, api, app, key, connection, answering],
  ...[settings, composer, empty, thread, sidebar, main],
];

/** The whole page, with one style and one script in it and nothing to fetch. */
export function chatPage(): string {
  const script = `(() => {\n"use strict";\n${scripts.map(withoutModules).join("\n")}})();\n`;
  // Functions, because "$" means something in a replacement.
  return page
    .replace("/* styles */", () => styles.join("\n"))
    .replace("/* script */", () => script);
}

/** Every import and export here stands at a line's start and ends with the line that has its semicolon. */
function withoutModules(source: string): string {
  return source.replace(/^import [^;]*;\n/gm, "").replace(/^export /gm, "");
}
