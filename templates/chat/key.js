/** Asks for the server's key; it is kept for this tab alone. */
import { byId } from "./dom.js";
import { readTab, writeTab } from "./store.js";

let asking = null;

/** Resolves to whether one was given. Asked twice at once, as by two columns, it shows one question. */
export function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    const field = byId("key");
    // A key that was refused is shown to be wrong.
    byId("key-wrong").hidden = readTab("key") === "";
    field.value = "";
    dialog.returnValue = "";
    // No submit button: the first of those is the one that Enter presses.
    byId("key-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given" && field.value !== "";
      if (given) writeTab("key", field.value);
      field.value = "";
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
    field.focus();
  });
  return asking;
}
