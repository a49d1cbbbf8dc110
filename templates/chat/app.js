/** What the page knows: conversations, the one that is open, settings, and what the server has told of itself. */
import { newConversation } from "./conversation.js";
import { loadConversations, loadSettings, readTab, saveSettings, writeTab } from "./store.js";

export const defaultSampling = { temperature: 0.7, top_p: 0.95, max_tokens: null, seed: null };

export const app = {
  conversations: loadConversations(),
  settings: loadSettings({
    theme: "system",
    compare: null,
    models: [],
    system: null,
    sampling: { ...defaultSampling },
  }),
  /** Of GET /ftl/info; null until it answers. */
  info: null,
  /** The open conversation; one without turns is not stored and not listed. */
  current: null,
  /** Answers being written: answer -> AbortController. */
  jobs: new Map(),
};

export const models = () => app.info?.models ?? [];
export const modelOf = (id) => models().find((model) => model.id === id || model.aliases?.includes(id));
export const isTuned = (id) => Boolean(modelOf(id)?.parent);

/** "Base" and "Tuned" where the server says so. */
export const roleOf = (id) => {
  const model = modelOf(id);
  if (!model) return null;
  if (model.parent) return "tuned";
  return models().some(({ parent }) => parent === model.id) ? "base" : null;
};

/** The pair that shows what training did: the last tuned model beside its base. */
function usualModels() {
  const tuned = models().findLast(({ parent }) => modelOf(parent));
  if (tuned) return { compare: true, models: [modelOf(tuned.parent).id, tuned.id] };
  const [first, second] = models();
  return { compare: false, models: first ? [first.id, (second ?? first).id] : [] };
}

/** Gives a conversation models that exist, keeping those that do. */
export function settleModels(conversation) {
  if (models().length === 0) return;
  const usual = usualModels();
  conversation.models = [0, 1].map((index) => modelOf(conversation.models[index])?.id ?? usual.models[index]);
  // Chosen when the server had one model: now there is another to compare it with.
  const [left, right] = conversation.models;
  if (left === right) conversation.models[1] = models().findLast(({ id }) => id !== left)?.id ?? right;
  conversation.compare ??= usual.compare;
  if (models().length < 2) conversation.compare = false;
}

export function openNew() {
  app.current = newConversation(app.settings);
  settleModels(app.current);
  writeTab("open", "");
}

export function openConversation(id) {
  app.current = app.conversations.get(id);
  settleModels(app.current);
  writeTab("open", id);
}

/** What this tab had open before it was loaded again, else a new one. */
export function openLast() {
  const id = readTab("open");
  if (app.conversations.has(id)) openConversation(id);
  else openNew();
}

/** What is chosen for one conversation is the choice for the next. */
export function rememberChoices() {
  const { compare, models, system, sampling } = app.current;
  Object.assign(app.settings, { system, sampling: { ...sampling } });
  // Where there is no choice of models, none was made.
  if (app.info?.models?.length > 1) Object.assign(app.settings, { compare, models: [...models] });
  saveSettings(app.settings);
}

export const systemOf = (conversation) => conversation.system ?? app.info?.defaultSystem ?? "";
