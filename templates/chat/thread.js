/** The open conversation: turns, answers that grow, editing, versions, and the scroll that follows only who is at the end. */
import { answerTurn, runningIn, stop } from "./answering.js";
import { app, isTuned, models, roleOf } from "./app.js";
import { showComposer } from "./composer.js";
import {
  addTurn,
  isRunning,
  repeatTurn,
  shownTurns,
  showVersion,
  tokensPerSecond,
  versionsOf,
} from "./conversation.js";
import { announce, byId, copyButton, el, icon, iconButton, number } from "./dom.js";
import { showEmpty } from "./empty.js";
import { paintMarkdown } from "./paint.js";
import { showHistory } from "./sidebar.js";
import { saveConversation, writeTab } from "./store.js";

/** Elements of the answers that are shown. */
let views = new Map();
const dirty = new Set();
let frame = 0;

/** Builds the thread anew; answers that grow are painted by themselves. */
export function showThread() {
  const turns = shownTurns(app.current);
  views = new Map();
  byId("thread").replaceChildren(...turns.map(turnElement));
  byId("thread").hidden = turns.length === 0;
  byId("heading").textContent = app.current.title || "New chat";
  document.title = app.current.title ? `${app.current.title} · ftl` : "ftl";
  showEmpty(turns.length === 0);
  showComposer();
}

function turnElement(turn, index) {
  const answers = el(
    "div",
    { class: turn.answers.length > 1 ? "answers pair" : "answers" },
    ...turn.answers.map((_, side) => answerElement(turn, side)),
  );
  return el(
    "article",
    { class: "turn", "aria-label": `Question ${index + 1}`, "data-turn": turn.id },
    questionElement(turn),
    answers,
    el("p", { class: "same", hidden: !sameAnswers(turn) }, "Word for word the same."),
  );
}

/** Long or many-lined questions are text and not a headline. */
const isLong = (text) => text.length > 140 || text.includes("\n");

function questionElement(turn) {
  const tools = el(
    "div",
    { class: "turn-tools" },
    versionSwitch(turn),
    iconButton("edit", "Edit question", () => editQuestion(turn), { "data-edit": turn.id }),
    copyButton("Copy question", () => turn.question),
  );
  return el(
    "header",
    { class: "question" },
    el("h2", { class: isLong(turn.question) ? "long" : null }, turn.question),
    tools,
  );
}

function versionSwitch(turn) {
  const versions = versionsOf(app.current, turn);
  if (versions.length < 2) return null;
  const at = versions.indexOf(turn);
  const go = (step) => () => {
    showVersion(app.current, versions[at + step]);
    saveIfBegun();
    showThread();
    announce(`Version ${at + step + 1} of ${versions.length}`);
    const shown = byId("thread").querySelector(`[data-turn="${versions[at + step].id}"]`);
    (shown.querySelector(`[data-step="${step}"]:not(:disabled)`) ?? shown.querySelector("[data-step]:not(:disabled)"))
      ?.focus();
  };
  return el(
    "span",
    { class: "versions", role: "group", "aria-label": "Versions of this turn" },
    iconButton("left", "Version before", go(-1), { disabled: at === 0, "data-step": "-1" }),
    el("span", { "aria-label": `Version ${at + 1} of ${versions.length}` }, `${at + 1}/${versions.length}`),
    iconButton("right", "Version after", go(1), { disabled: at === versions.length - 1, "data-step": "1" }),
  );
}

function answerElement(turn, side) {
  const answer = turn.answers[side];
  const view = {
    turn,
    answer,
    section: el("section", {
      class: `answer ${isTuned(answer.model) ? "tuned" : "base"}`,
      "aria-label": `Answer of ${answer.model}`,
    }),
    reasoning: el(
      "details",
      { class: "reasoning", hidden: true },
      el("summary", {}, "Reasoning"),
      el("div", { class: "prose" }),
    ),
    prose: el("div", { class: "prose" }),
    note: el("p", { class: "note", hidden: true }),
    meta: el("span", { class: "stats" }),
    // What can be done with an answer comes when it is complete.
    tools: el(
      "span",
      { class: "answer-tools" },
      copyButton("Copy answer", () => answer.text),
      iconButton("again", "Answer again", () => again(turn, turn.answers.length > 1 ? side : undefined)),
    ),
  };
  const role = roleOf(answer.model);
  view.section.append(
    el(
      "header",
      { class: "answer-head" },
      el("span", { class: "swatch", "aria-hidden": "true" }),
      el("span", { class: "model" }, answer.model),
      role && el("span", { class: "role" }, role),
    ),
    view.reasoning,
    view.prose,
    view.note,
    el("footer", { class: "answer-foot" }, view.meta, view.tools),
  );
  views.set(answer, view);
  paintAnswer(view);
  return view.section;
}

/** "<think>...</think>text" -> its two parts; the first may still be growing. */
function splitReasoning({ text, reasoning }) {
  const begin = text.match(/^\s*<think>/);
  if (!begin) return [reasoning, text];
  const end = text.indexOf("</think>");
  if (end < 0) return [text.slice(begin[0].length), ""];
  return [text.slice(begin[0].length, end), text.slice(end + "</think>".length).trimStart()];
}

function paintAnswer({ turn, answer, section, reasoning, prose, note, meta, tools }) {
  const running = isRunning(answer);
  const [thought, text] = splitReasoning(answer);
  section.classList.toggle("running", running);
  section.classList.toggle("silent", running && text === "" && answer.note === "");
  section.setAttribute("aria-busy", String(running));
  reasoning.hidden = thought.trim() === "";
  if (!reasoning.hidden) paintMarkdown(reasoning.lastChild, thought, running && text === "");
  paintMarkdown(prose, text, running);
  paintNote(note, turn, answer);
  meta.replaceChildren(...statistics(answer).map((part) => el("span", {}, part)));
  tools.hidden = running;
  if (!running) {
    const same = section.closest(".turn")?.querySelector(".same");
    if (same) same.hidden = !sameAnswers(turn);
  }
}

function paintNote(note, turn, answer) {
  // Written again only when it says something else: a button in it may have the focus.
  if (note.dataset.text === `${answer.state} ${answer.note}`) return;
  note.dataset.text = `${answer.state} ${answer.note}`;
  const side = turn.answers.length > 1 ? turn.answers.indexOf(answer) : undefined;
  const action = answer.action === "again" && !isRunning(answer) &&
    el("button", { type: "button", class: "link", on: { click: () => again(turn, side) } }, "Try again");
  note.hidden = answer.note === "";
  note.className = `note ${answer.state}`;
  note.replaceChildren(answer.note, ...(action ? [" ", action] : []));
}

const duration = (ms) => ms < 950 ? `${number(ms)} ms` : `${number(ms / 1000, ms < 9950 ? 1 : 0)} s`;

/** ["45 tokens", "61 tokens/s", "first after 210 ms"] */
function statistics(answer) {
  if (answer.pieces === 0) return [];
  const tokens = answer.usage?.completion_tokens;
  // Without the server's count, as after a stop, pieces of the stream stand for tokens.
  const parts = [
    tokens === undefined
      ? `about ${number(answer.pieces)} tokens`
      : `${number(tokens)} token${tokens === 1 ? "" : "s"}`,
  ];
  const speed = tokensPerSecond(answer);
  if (speed !== null) parts.push(`${number(speed, speed < 10 ? 1 : 0)} tokens/s`);
  if (!isRunning(answer) && answer.firstMs !== null) {
    parts.push(`first after ${duration(answer.firstMs)}`);
  }
  return parts;
}

const sameAnswers = ({ answers }) =>
  answers.length > 1 && answers.every(({ state, text, model }) =>
    state === "done" && text !== "" && text === answers[0].text && model
  ) && answers[0].model !== answers[1].model;

/** Called for every token: paints once a frame. */
export function answerChanged(turn, side) {
  dirty.add(turn.answers[side]);
  frame ||= requestAnimationFrame(paintDirty);
}

function paintDirty() {
  frame = 0;
  let ended = false;
  for (const answer of dirty) {
    const view = views.get(answer);
    if (view) paintAnswer(view);
    ended ||= !isRunning(answer);
  }
  dirty.clear();
  followEnd();
  if (ended) {
    showComposer();
    showHistory();
  }
}

/** Asks a question after the last turn that is shown, or as another version of `instead`. */
export function ask(question, instead) {
  const { current } = app;
  if (runningIn(current).length > 0) return announce("An answer is being written; Escape stops it");
  if (models().length === 0) return announce("The server has not answered yet");
  const parent = instead ? instead.parent : shownTurns(current).at(-1)?.id ?? null;
  begin(addTurn(current, parent, question, current.models.slice(0, current.compare ? 2 : 1)));
}

export function again(turn, only) {
  const { current } = app;
  if (runningIn(current).length > 0) return announce("An answer is being written; Escape stops it");
  begin(repeatTurn(current, turn, only));
}

function begin(turn) {
  writeTab("open", app.current.id);
  const answered = answerTurn(app.current, turn, answerChanged);
  showThread();
  showHistory();
  goToEnd();
  announce(turn.answers.length > 1 ? "Two answers are being written" : "An answer is being written");
  return answered;
}

export function editQuestion(turn) {
  const old = byId("thread").querySelector(`[data-turn="${turn.id}"] .question`);
  if (!old || old.querySelector("form")) return;
  const field = el("textarea", { id: "edit", rows: "2", "aria-label": "Edit question" });
  field.value = turn.question;
  const close = () => {
    old.replaceWith(questionElement(turn));
    byId("thread").querySelector(`[data-edit="${turn.id}"]`)?.focus();
  };
  const send = (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (question === "") return field.focus();
    stop(app.current);
    // A stopped answer says so one turn of the event loop later.
    setTimeout(() => {
      ask(question, turn);
      focusQuestion();
    });
  };
  const form = el(
    "form",
    { class: "edit", on: { submit: send } },
    el("h2", { class: "unseen" }, turn.question),
    field,
    el(
      "div",
      { class: "edit-foot" },
      el("span", { class: "hint" }, "What stands here now stays as another version."),
      el("button", { type: "button", class: "link", on: { click: close } }, "Cancel"),
      el("button", { type: "submit", class: "solid" }, "Ask"),
    ),
  );
  field.addEventListener("input", () => growField(field));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (isSendKey(event)) send(event);
  });
  old.replaceChildren(form);
  growField(field);
  field.focus();
  form.scrollIntoView({ block: "nearest" });
}

/** Enter alone; not the one that ends the choice of a Chinese or Japanese word. */
export const isSendKey = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

export function growField(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, innerHeight * 0.4)}px`;
}

/** Not where it would bring up a keyboard over half of the page. */
export function focusQuestion() {
  if (matchMedia("(hover: hover)").matches) byId("question").focus();
}

export function saveIfBegun() {
  const { current, conversations } = app;
  if (conversations.has(current.id)) saveConversation(current);
}

let following = true;

export function watchScroll() {
  const scroller = byId("scroller");
  byId("to-end").prepend(icon("down"));
  scroller.addEventListener("scroll", () => {
    following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
    byId("to-end").hidden = following;
  }, { passive: true });
  byId("to-end").addEventListener("click", () => {
    goToEnd();
    focusQuestion();
  });
}

function followEnd() {
  if (following) goToEnd();
  else byId("to-end").hidden = false;
}

export function goToEnd() {
  const scroller = byId("scroller");
  following = true;
  byId("to-end").hidden = true;
  // Where nothing was asked there is a beginning and no end.
  scroller.scrollTop = byId("thread").hidden ? 0 : scroller.scrollHeight;
}
