/**
 * Elements, icons, the clipboard and files. Text only ever becomes a text node: nothing here takes markup, so what a
 * model writes cannot become any.
 */

/** el("button", { class: "quiet", on: { click } }, "Copy"): attributes that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Strokes on a field of 20 by 20. */
const icons = {
  plus: "M10 4v12M4 10h12",
  menu: "M3 6h14M3 10h14M3 14h9",
  sliders: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l1-4 8-8 3 3-8 8zM11.5 5.5l3 3",
  again: "M16 10a6 6 0 1 1-2-4.5M16 3v4h-4",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  close: "M5 5l10 10M15 5L5 15",
  swap: "M4 7h11M12 4l3 3-3 3M16 13H5M8 10l-3 3 3 3",
  system: "M3 4h14v9H3zM7 17h6M10 13v4",
  light:
    "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M4.3 15.7l1-1M14.7 5.3l1-1",
  dark: "M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", icons[name]);
  svg.append(path);
  return svg;
}

/** A button of an icon alone; its name is what screen readers say and what the pointer shows. */
export function iconButton(name, label, click, attributes = {}) {
  return el("button", {
    type: "button",
    class: "tool",
    "aria-label": label,
    title: label,
    on: { click },
    ...attributes,
  }, icon(name));
}

/** Copies what `text()` returns at the time of the click and says so for a moment. */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const copied = await copyText(text());
    button.replaceChildren(icon(copied ? "check" : "close"));
    announce(copied ? "Copied" : "The browser did not allow copying");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

async function copyText(text) {
  // The clipboard is offered in secure contexts only, which a server in the local network is not.
  if (navigator.clipboard) {
    const copied = await navigator.clipboard.writeText(text).then(() => true, () => false);
    if (copied) return true;
  }
  const focused = document.activeElement;
  const field = el("textarea", { class: "unseen", "aria-hidden": "true", readonly: true, tabindex: "-1" });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}

export function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Tells screen readers, once. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** A message at the bottom for some seconds, with at most one thing to do. */
export function toast(text, action) {
  const close = () => item.remove();
  const item = el("div", { class: "toast", role: "status" }, el("span", {}, text));
  if (action) {
    item.append(el("button", {
      type: "button",
      class: "link",
      on: {
        click: () => {
          close();
          action.run();
        },
      },
    }, action.name));
  }
  byId("toasts").replaceChildren(item);
  setTimeout(close, action ? 10_000 : 4000);
}

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
