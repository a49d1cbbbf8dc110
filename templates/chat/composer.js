/** The question's field, the choice of models above the thread, and what stands in small letters below. */
import { runningIn, stop } from "./answering.js";
import { app, isTuned, models, rememberChoices } from "./app.js";
import { shownTurns } from "./conversation.js";
import { announce, byId, el, icon, number } from "./dom.js";
import { openSettings } from "./settings.js";
import { readTab, writeTab } from "./store.js";
import { ask, editQuestion, growField, isSendKey, saveIfBegun, showThread } from "./thread.js";

export function setUpComposer() {
  const field = byId("question");
  const changed = () => {
    growField(field);
    writeTab("draft", field.value);
    showSend();
  };
  field.value = readTab("draft");
  field.addEventListener("input", changed);
  field.addEventListener("keydown", (event) => {
    if (isSendKey(event)) {
      event.preventDefault();
      if (runningIn(app.current).length > 0) announce("An answer is being written; Escape stops it");
      else send();
    } else if (event.key === "ArrowUp" && field.value === "") {
      const last = shownTurns(app.current).at(-1);
      if (!last) return;
      event.preventDefault();
      editQuestion(last);
    }
  });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (runningIn(app.current).length > 0) stop(app.current);
    else send();
    field.focus();
  });
  const send = () => {
    const question = field.value.trim();
    if (question === "" || models().length === 0) return;
    field.value = "";
    changed();
    ask(question);
  };
  growField(field);
  setUpModels();
  byId("sampling").addEventListener("click", openSettings);
}

function setUpModels() {
  byId("swap").append(icon("swap"));
  byId("swap").addEventListener("click", () => choose({ models: app.current.models.toReversed() }));
  byId("mode").addEventListener("change", ({ target }) => choose({ compare: target.value === "compare" }));
  for (const side of [0, 1]) {
    byId(`model-${side}`).addEventListener("change", ({ target }) => {
      const chosen = app.current.models.with(side, target.value);
      // The other column's model chosen here: the two change places.
      if (app.current.compare && chosen[0] === chosen[1]) chosen[1 - side] = app.current.models[side];
      choose({ models: chosen });
    });
  }
}

function choose(change) {
  Object.assign(app.current, change);
  rememberChoices();
  saveIfBegun();
  if (shownTurns(app.current).length === 0) showThread();
  else showComposer();
}

/** Everything around the thread that depends on the conversation and on what is running. */
export function showComposer() {
  const { current } = app;
  for (const side of [0, 1]) fillModels(byId(`model-${side}`), current.models[side]);
  const several = models().length > 1;
  for (const input of byId("mode").querySelectorAll("input")) {
    input.checked = (input.value === "compare") === Boolean(current.compare);
    input.disabled = input.value === "compare" && !several;
  }
  byId("mode").title = several ? "" : "Side by side needs a second model: serve a tuned one beside its base";
  byId("models").dataset.compare = String(Boolean(current.compare));
  byId("label-0").textContent = current.compare ? "Model on the left" : "Model";
  byId("models").hidden = models().length === 0;
  showSend();
  showFinePrint();
}

function fillModels(select, chosen) {
  const option = ({ id }) => el("option", { value: id, selected: id === chosen }, id);
  const group = (label, found) => found.length > 0 && el("optgroup", { label }, ...found.map(option));
  const tuned = models().filter(({ parent }) => parent);
  const others = models().filter(({ parent }) => !parent);
  select.replaceChildren(
    ...(tuned.length > 0 ? [group("Base", others), group("Tuned", tuned)].filter(Boolean) : others.map(option)),
  );
  select.closest(".pick").classList.toggle("tuned", isTuned(chosen));
}

function showSend() {
  const button = byId("send");
  const running = runningIn(app.current).length > 0;
  const name = running ? "Stop" : "Send";
  if (button.title !== name || !button.firstChild) {
    button.replaceChildren(icon(running ? "stop" : "send"));
    button.title = name;
    button.setAttribute("aria-label", name);
  }
  button.classList.toggle("stop", running);
  button.disabled = !running && (byId("question").value.trim() === "" || models().length === 0);
}

/** "temperature 0.7 · seed 5", and how much of the context the conversation fills. */
function showFinePrint() {
  const { temperature, top_p, max_tokens, seed } = app.current.sampling;
  const parts = [
    `temperature ${temperature}`,
    temperature > 0 && top_p < 1 && `top-p ${top_p}`,
    max_tokens !== null && `${number(max_tokens)} tokens`,
    seed !== null && `seed ${seed}`,
  ];
  byId("sampling").textContent = parts.filter(Boolean).join(" · ");
  const totals = shownTurns(app.current).at(-1)?.answers.map(({ usage }) => usage?.total_tokens ?? 0) ?? [];
  const used = Math.max(0, ...totals);
  const limit = app.info?.contextLength;
  byId("context").textContent = used > 0 && limit ? `${number(used)} of ${number(limit)} tokens of context` : "";
  byId("context").classList.toggle("full", used > 0.9 * limit);
}
