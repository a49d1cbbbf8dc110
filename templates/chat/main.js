/** The beginning: what was stored is shown at once, then the server is asked who it is. */
import { pageIsLeaving, runningIn, stop } from "./answering.js";
import { app, openLast, openNew, settleModels } from "./app.js";
import { setUpComposer } from "./composer.js";
import { connect, lookForModels } from "./connection.js";
import { toast } from "./dom.js";
import { openSide, setUpSidebar, showHistory, showServer, sideIsOpen, startNew } from "./sidebar.js";
import { loadConversation, onOtherTab, onStorageTrouble, saveConversation } from "./store.js";
import { setUpSettings } from "./settings.js";
import { focusQuestion, goToEnd, showThread, watchScroll } from "./thread.js";

function start() {
  let complained = false;
  onStorageTrouble((message) => {
    if (!complained) toast(message);
    complained = true;
  });
  openLast();
  setUpSidebar();
  setUpSettings();
  setUpComposer();
  watchScroll();
  showThread();
  showHistory();
  goToEnd();
  focusQuestion();
  addEventListener("keydown", onKey);
  addEventListener("beforeunload", pageIsLeaving);
  addEventListener("pagehide", () => {
    pageIsLeaving();
    saveRunning();
  });
  document.addEventListener("visibilitychange", saveRunning);
  onOtherTab(takeFromOtherTab);
  connect(() => {
    settleModels(app.current);
    showServer();
    // A question that is being edited here is not taken away.
    if (!document.querySelector("form.edit")) showThread();
  });
  addEventListener("focus", lookForModels);
}

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    startNew();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) {
    if (sideIsOpen()) openSide(false);
    else stop(app.current);
  }
}

/** The page may be gone before the next regular write. */
function saveRunning() {
  for (const conversation of app.conversations.values()) {
    if (runningIn(conversation).length > 0) saveConversation(conversation);
  }
}

/** A tab that writes an answer stores it several times a second; one that is silent this long has gone. */
const tabIsGoneAfter = 3000;
let otherTab = 0;

function takeFromOtherTab(id, exists, elsewhere = true) {
  const mine = app.conversations.get(id);
  if (mine && runningIn(mine).length > 0) return;
  const theirs = exists ? loadConversation(id, elsewhere) : null;
  if (theirs) app.conversations.set(id, theirs);
  else app.conversations.delete(id);
  if (app.current.id === id) {
    if (theirs) app.current = theirs;
    else openNew();
    settleModels(app.current);
    // A question that is being edited here is not taken away.
    if (!document.querySelector("form.edit")) showThread();
    clearTimeout(otherTab);
    if (theirs && elsewhere) otherTab = setTimeout(() => takeFromOtherTab(id, true, false), tabIsGoneAfter);
  }
  showHistory();
}

start();
