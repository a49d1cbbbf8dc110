/** The conversations, newest first; renaming, exporting and deleting them; the server's name and the theme. */
import { runningIn, stop } from "./answering.js";
import { app, openConversation, openNew } from "./app.js";
import { toJson, toMarkdown } from "./conversation.js";
import { byId, el, icon, iconButton, number, saveFile, toast } from "./dom.js";
import { deleteConversation, saveConversation, saveSettings } from "./store.js";
import { focusQuestion, goToEnd, showThread } from "./thread.js";

const narrow = matchMedia("(max-width: 56rem)");

export function setUpSidebar() {
  byId("side-open").append(icon("menu"));
  byId("side-close").append(icon("close"));
  byId("side-open").addEventListener("click", () => openSide(true));
  byId("side-close").addEventListener("click", () => openSide(false));
  byId("scrim").addEventListener("click", () => openSide(false));
  narrow.addEventListener("change", () => openSide(false));
  byId("new-chat").prepend(icon("plus"));
  byId("new-chat").addEventListener("click", startNew);
  if (!/Mac|iP/.test(navigator.platform)) byId("new-chat").querySelector("kbd").textContent = "Ctrl K";
  byId("theme").addEventListener("click", nextTheme);
  byId("menu").addEventListener("keydown", moveInMenu);
  showTheme();
  openSide(false);
}

/** On narrow screens the list lies over the page, which cannot be reached meanwhile. */
export function openSide(open) {
  const over = open && narrow.matches;
  document.documentElement.toggleAttribute("data-side-open", over);
  byId("scrim").hidden = !over;
  byId("page").inert = over;
  byId("side").inert = narrow.matches && !over;
  const wasOpen = byId("side-open").getAttribute("aria-expanded") === "true";
  byId("side-open").setAttribute("aria-expanded", String(over));
  if (over) byId("side-close").focus();
  else if (wasOpen && narrow.matches) byId("side-open").focus();
}

export const sideIsOpen = () => document.documentElement.hasAttribute("data-side-open");

export function startNew() {
  openNew();
  openSide(false);
  showThread();
  showHistory();
  focusQuestion();
}

function open(id) {
  openConversation(id);
  openSide(false);
  showThread();
  showHistory();
  goToEnd();
  focusQuestion();
}

export function showHistory() {
  const focused = document.activeElement?.closest?.("#history [data-key]")?.dataset.key;
  const all = [...app.conversations.values()].sort((a, b) => b.updated - a.updated);
  const groups = Map.groupBy(all, ({ updated }) => dayOf(updated));
  byId("history").replaceChildren(
    ...[...groups].map(([day, group]) =>
      el("section", { "aria-label": day }, el("h2", { class: "day" }, day), el("ul", {}, ...group.map(historyItem)))
    ),
  );
  if (all.length === 0) {
    byId("history").append(el("p", { class: "hint" }, "Conversations stay in this browser and appear here."));
  }
  if (focused) byId("history").querySelector(`[data-key="${focused}"]`)?.focus();
}

function dayOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  return time >= midnight - 86_400_000 ? "Yesterday" : "Earlier";
}

function historyItem(conversation) {
  const { id, title } = conversation;
  const current = app.current.id === id;
  const running = runningIn(conversation).length > 0;
  return el(
    "li",
    { class: current ? "entry current" : "entry" },
    el(
      "button",
      {
        type: "button",
        class: "entry-open",
        "data-key": `open-${id}`,
        "aria-current": current ? "page" : null,
        title,
        on: { click: () => open(id) },
      },
      running && el("span", { class: "pulse", role: "img", "aria-label": "being answered:" }),
      el("span", {}, title || "Untitled"),
    ),
    iconButton(
      "more",
      `More for ${title || "Untitled"}`,
      ({ currentTarget }) => openMenu(conversation, currentTarget),
      { "data-key": `more-${id}`, "aria-haspopup": "true" },
    ),
  );
}

function openMenu(conversation, button) {
  const menu = byId("menu");
  const item = (name, run, kind) =>
    el("button", {
      type: "button",
      class: kind,
      on: {
        click: () => {
          menu.hidePopover();
          run();
        },
      },
    }, name);
  const file =
    (conversation.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase().slice(
      0,
      48,
    ) || "conversation";
  menu.replaceChildren(
    item("Rename", () => rename(conversation)),
    item("Export as Markdown", () => saveFile(`${file}.md`, "text/markdown", toMarkdown(conversation))),
    item("Export as JSON", () => saveFile(`${file}.json`, "application/json", toJson(conversation))),
    item("Delete", () => remove(conversation), "danger"),
  );
  menu.setAttribute("aria-label", `Conversation ${conversation.title}`);
  menu.showPopover({ source: button });
  const place = button.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = menu;
  menu.style.left = `${Math.max(8, Math.min(place.left, innerWidth - offsetWidth - 8))}px`;
  menu.style.top = `${
    place.bottom + offsetHeight + 8 > innerHeight ? place.top - offsetHeight - 4 : place.bottom + 4
  }px`;
  menu.firstChild.focus();
}

function moveInMenu(event) {
  const items = [...byId("menu").children];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
}

function rename(conversation) {
  const entry = byId("history").querySelector(`[data-key="open-${conversation.id}"]`).closest("li");
  const field = el("input", {
    type: "text",
    class: "rename",
    "aria-label": "Name of the conversation",
    maxlength: "120",
  });
  field.value = conversation.title;
  let closed = false;
  const close = (keep) => {
    if (closed) return;
    closed = true;
    if (keep && field.value.trim() !== "") {
      conversation.title = field.value.trim();
      conversation.named = true;
      saveConversation(conversation);
    }
    showHistory();
    if (app.current === conversation) document.title = `${conversation.title} · ftl`;
    byId("history").querySelector(`[data-key="open-${conversation.id}"]`)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.stopPropagation();
    close(event.key === "Enter");
  });
  field.addEventListener("blur", () => close(true));
  entry.replaceChildren(field);
  field.select();
}

function remove(conversation) {
  stop(conversation);
  app.conversations.delete(conversation.id);
  deleteConversation(conversation.id);
  const wasOpen = app.current === conversation;
  if (wasOpen) openNew();
  showThread();
  showHistory();
  byId("new-chat").focus();
  toast(`Deleted “${conversation.title}”`, {
    name: "Undo",
    run: () => {
      app.conversations.set(conversation.id, conversation);
      saveConversation(conversation);
      if (wasOpen) open(conversation.id);
      else showHistory();
    },
  });
}

export function showServer() {
  const { info } = app;
  byId("server").replaceChildren(
    ...(info
      ? [
        el("span", {}, `ftl ${info.version ?? ""}`),
        ...(info.contextLength ? [el("span", {}, `${number(info.contextLength)} tokens of context`)] : []),
      ]
      : []),
  );
}

const themes = { system: "light", light: "dark", dark: "system" };

function nextTheme() {
  app.settings.theme = themes[app.settings.theme] ?? "system";
  saveSettings(app.settings);
  showTheme();
}

export function showTheme() {
  const { theme } = app.settings;
  const label = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" }[theme];
  document.documentElement.dataset.theme = theme;
  byId("theme").replaceChildren(icon(theme));
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}
