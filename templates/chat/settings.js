/** The sheet of settings: each takes effect as it is changed. */
import { app, defaultSampling, rememberChoices, systemOf } from "./app.js";
import { showComposer } from "./composer.js";
import { byId, icon } from "./dom.js";
import { saveIfBegun } from "./thread.js";

const sliders = ["temperature", "top_p"];
const numbers = ["max_tokens", "seed"];

export function setUpSettings() {
  byId("settings-open").append(icon("sliders"));
  byId("settings-close").append(icon("close"));
  byId("settings-open").addEventListener("click", openSettings);
  byId("settings-reset").addEventListener("click", () => {
    app.current.system = null;
    app.current.sampling = { ...defaultSampling };
    fill();
    changed();
  });
  byId("system").addEventListener("input", ({ target }) => {
    app.current.system = target.value;
    changed();
  });
  for (const name of sliders) {
    byId(name).addEventListener("input", ({ target }) => {
      app.current.sampling[name] = Number(target.value);
      byId(`${name}-value`).value = target.value;
      changed();
    });
  }
  for (const name of numbers) {
    byId(name).addEventListener("input", ({ target }) => {
      app.current.sampling[name] = target.value === "" || !target.validity.valid ? null : Number(target.value);
      changed();
    });
  }
  const dialog = byId("settings");
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
}

export function openSettings() {
  fill();
  byId("settings").showModal();
}

function fill() {
  const { sampling } = app.current;
  byId("system").value = systemOf(app.current);
  for (const name of sliders) {
    byId(name).value = sampling[name];
    byId(`${name}-value`).value = sampling[name];
  }
  for (const name of numbers) byId(name).value = sampling[name] ?? "";
}

function changed() {
  rememberChoices();
  saveIfBegun();
  showComposer();
}
