/**
 * Conversations and settings in the browser. Every conversation has a key of its own under a version: one that cannot be
 * read is left where it is. Where the browser stores nothing, everything works until the page is closed.
 */
import { reviveConversation } from "./conversation.js";

const prefix = "ftl.chat.1.";
const conversationKey = (id) => `${prefix}conversation.${id}`;

/** Called with a message when something could not be stored; set once by the page. */
let complain = () => {};
export const onStorageTrouble = (listener) => complain = listener;

function write(storage, key, value) {
  try {
    globalThis[storage].setItem(prefix + key, value);
  } catch (error) {
    complain(
      error.name === "QuotaExceededError"
        ? "The browser's storage is full: export and delete old conversations, or this one is lost with the page."
        : "The browser stores nothing for this page: conversations are lost when it is closed.",
    );
  }
}

function read(storage, key) {
  try {
    return globalThis[storage].getItem(prefix + key);
  } catch {
    return null;
  }
}

export const saveConversation = (conversation) =>
  write("localStorage", `conversation.${conversation.id}`, JSON.stringify(conversation));

export function deleteConversation(id) {
  try {
    localStorage.removeItem(conversationKey(id));
  } catch { /* It was never stored. */ }
}

/** `elsewhere`: another tab has written it, and may be writing still. */
export function loadConversation(id, elsewhere = false) {
  const text = read("localStorage", `conversation.${id}`);
  return text === null ? null : reviveConversation(text, elsewhere);
}

export function loadConversations() {
  const found = new Map();
  try {
    for (const key of Object.keys(localStorage).filter((key) => key.startsWith(conversationKey("")))) {
      const conversation = loadConversation(key.slice(conversationKey("").length));
      if (conversation) found.set(conversation.id, conversation);
    }
  } catch { /* Nothing is stored. */ }
  return found;
}

export function loadSettings(defaults) {
  try {
    return { ...defaults, ...JSON.parse(read("localStorage", "settings") ?? "{}") };
  } catch {
    return defaults;
  }
}

export const saveSettings = (settings) => write("localStorage", "settings", JSON.stringify(settings));

/** What belongs to this tab alone: the key, the open conversation, what is typed. */
export const readTab = (key) => read("sessionStorage", key) ?? "";
export const writeTab = (key, value) => write("sessionStorage", key, value);

/** Another tab has changed, or deleted, a conversation. */
export function onOtherTab(listener) {
  addEventListener("storage", ({ key, newValue }) => {
    if (key?.startsWith(conversationKey(""))) listener(key.slice(conversationKey("").length), newValue !== null);
  });
}
