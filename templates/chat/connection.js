/** Whether the server is there: asked at the start and, while it is away, again and again; the page goes on meanwhile. */
import { fetchInfo } from "./api.js";
import { app } from "./app.js";
import { askForKey } from "./key.js";
import { announce, byId, el } from "./dom.js";
import { readTab } from "./store.js";

const longestWait = 10;
let waiting = null;
let onInfo = () => {};
const returned = [];

/** `listener` is told of every answer of GET /ftl/info. */
export async function connect(listener) {
  onInfo = listener;
  await lookForServer(1);
}

/** Models come and go while the server runs: asked when somebody comes back to the page. */
export async function lookForModels() {
  if (waiting || !app.info) return;
  try {
    const info = await fetchInfo(readTab("key"));
    if (JSON.stringify(info.models) === JSON.stringify(app.info.models)) return;
    app.info = info;
  } catch {
    // The next question will tell.
    return;
  }
  onInfo();
}

/** Says that nothing answers; resolves when something does. */
export function serverIsAway() {
  if (!waiting) retryIn(1);
  return new Promise((resolve) => returned.push(resolve));
}

async function lookForServer(pause) {
  showBanner("Looking for the server…", null);
  try {
    app.info = await fetchInfo(readTab("key"));
  } catch (trouble) {
    if (trouble.kind === "key") {
      waiting = null;
      hideBanner();
      if (await askForKey()) return lookForServer(1);
      return showBanner("This server answers only with its key.", {
        name: "Enter the key",
        run: () => lookForServer(1),
      });
    }
    return retryIn(pause);
  }
  const wasAway = waiting !== null;
  waiting = null;
  hideBanner();
  if (wasAway) announce("The server is back");
  onInfo();
  for (const resolve of returned.splice(0)) resolve();
}

/** The pause doubles from one second to ten. */
function retryIn(pause) {
  clearInterval(waiting?.timer);
  if (!waiting) announce("The server does not answer");
  let left = pause;
  const again = () => {
    clearInterval(waiting.timer);
    lookForServer(Math.min(longestWait, pause * 2));
  };
  const show = () =>
    showBanner(`The server does not answer. Your conversations are safe here; trying again in ${left} s.`, {
      name: "Try now",
      run: again,
    });
  show();
  waiting = {
    timer: setInterval(() => {
      left--;
      if (left <= 0) again();
      else show();
    }, 1000),
  };
  document.documentElement.dataset.server = "away";
}

function showBanner(text, action) {
  // The first look is quiet: it mostly takes milliseconds.
  if (!action && !waiting) return;
  const banner = byId("banner");
  const button = banner.querySelector("button");
  banner.hidden = false;
  banner.querySelector("span").textContent = text;
  // The button stays the same element while only seconds count down, so that it keeps the focus.
  if (!action) return;
  if (button?.textContent === action.name) button.onclick = action.run;
  else {
    button?.remove();
    const made = el("button", { type: "button", class: "link" }, action.name);
    made.onclick = action.run;
    banner.append(made);
  }
}

function hideBanner() {
  byId("banner").hidden = true;
  document.documentElement.dataset.server = "here";
}
