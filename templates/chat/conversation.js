/**
 * A conversation: a tree of turns, a question with one answer for each model. Editing a question or asking again adds a
 * turn beside the old one, so nothing that was written is ever lost. Plain data; nothing here touches the page.
 *
 *   conversation { version, id, title, named, created, updated, compare, models, system, sampling, turns, chosen }
 *   turn         { id, parent, question, at, answers }
 *   answer       { model, text, reasoning, state, note, action, finish, usage, pieces, firstMs, ms }
 *
 * `chosen` names the turn shown after each turn ("" for the first). An answer's state: waiting, writing, done, stopped,
 * failed.
 */

export const formatVersion = 1;

// Other sources of randomness are missing where the page comes from another machine without TLS.
const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(36).padStart(2, "0")).join("");

export function newConversation({ compare, models, system, sampling }) {
  const now = Date.now();
  return {
    version: formatVersion,
    id: newId(),
    title: "",
    named: false,
    created: now,
    updated: now,
    compare,
    models: [...models],
    system,
    sampling: { ...sampling },
    turns: {},
    chosen: {},
  };
}

const newAnswer = (model) => ({
  model,
  text: "",
  reasoning: "",
  state: "waiting",
  note: "",
  action: "",
  finish: null,
  usage: null,
  pieces: 0,
  firstMs: null,
  ms: null,
});

/** A new turn after `parent` (null: the first), shown from now on. */
export function addTurn(conversation, parent, question, models) {
  const turn = { id: newId(), parent, question, at: Date.now(), answers: models.map(newAnswer) };
  conversation.turns[turn.id] = turn;
  conversation.chosen[parent ?? ""] = turn.id;
  conversation.updated = turn.at;
  if (!conversation.named && !conversation.title) conversation.title = titleOf(question);
  return turn;
}

/** The same question again, for one answer or for all: the other answers stand beside the new one as they are. */
export function repeatTurn(conversation, turn, only) {
  const repeated = addTurn(conversation, turn.parent, turn.question, turn.answers.map(({ model }) => model));
  if (only !== undefined) {
    repeated.answers = turn.answers.map((answer, index) =>
      index === only ? newAnswer(answer.model) : structuredClone(answer)
    );
  }
  return repeated;
}

function titleOf(question) {
  const line = question.trim().split("\n")[0];
  return line.length > 64 ? `${line.slice(0, 63).trimEnd()}…` : line;
}

/** The turns that are shown, in order. */
export function shownTurns(conversation) {
  const shown = [];
  for (
    let id = conversation.chosen[""];
    id && conversation.turns[id] && shown.length < 10_000;
    id = conversation.chosen[id]
  ) {
    shown.push(conversation.turns[id]);
  }
  return shown;
}

/** Turns at the same place: this one, its edits and its repetitions, oldest first. */
export const versionsOf = (conversation, turn) =>
  Object.values(conversation.turns).filter(({ parent }) => parent === turn.parent).sort((a, b) =>
    a.at - b.at || (a.id < b.id ? -1 : 1)
  );

export function showVersion(conversation, turn) {
  conversation.chosen[turn.parent ?? ""] = turn.id;
}

/** What a model is told: system prompt, the turns above with its own answers, and the question. */
export function messagesFor(conversation, turn, index, system) {
  const { model } = turn.answers[index];
  const messages = [{ role: "user", content: turn.question }];
  for (let above = conversation.turns[turn.parent]; above; above = conversation.turns[above.parent]) {
    const answer = above.answers.find((answer) => answer.model === model) ?? above.answers[index] ?? above.answers[0];
    // Chat templates want question and answer in turns, so a question without an answer is left out.
    if (answer.text.trim() !== "") {
      messages.unshift({ role: "user", content: above.question }, { role: "assistant", content: answer.text });
    }
  }
  if (system.trim() !== "") messages.unshift({ role: "system", content: system });
  return messages;
}

export const isRunning = (answer) => answer.state === "waiting" || answer.state === "writing";

/** Tokens a second after the first; null where too few are known. */
export function tokensPerSecond({ usage, pieces, firstMs, ms }) {
  const tokens = usage?.completion_tokens ?? pieces;
  if (ms === null || tokens < 2) return null;
  const seconds = (ms - (firstMs ?? 0)) / 1000;
  // All at once tells of the network and not of the model.
  return seconds > 0.005 ? (tokens - 1) / seconds : null;
}

/** Reads what was stored; null where it is not a conversation of this version. What was being written has stopped. */
export function reviveConversation(text, elsewhere = false) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const turns = value?.turns;
  if (value?.version !== formatVersion || typeof value.id !== "string" || typeof turns !== "object" || turns === null) {
    return null;
  }
  const isTurn = (turn) =>
    turn && typeof turn.question === "string" && Array.isArray(turn.answers) && turn.answers.length > 0 &&
    turn.answers.every((answer) => answer && typeof answer.text === "string" && typeof answer.model === "string");
  if (
    !Object.values(turns).every(isTurn) || !Array.isArray(value.models) || typeof value.chosen !== "object" ||
    !value.chosen
  ) return null;
  for (const { answers } of Object.values(turns)) {
    for (const answer of answers.filter(isRunning)) {
      answer.state = "stopped";
      if (elsewhere) answer.note = "Being written in another tab.";
      else {answer.note = answer.text
          ? "The page was closed during this answer. What had arrived is kept."
          : "The page was closed before this answer began.";}
      answer.action = elsewhere ? "" : "again";
    }
  }
  return { ...value, title: String(value.title ?? ""), sampling: { ...value.sampling } };
}

/** The turns that are shown, as a document. */
export function toMarkdown(conversation) {
  const parts = [`# ${conversation.title || "Conversation"}`];
  if (conversation.system?.trim()) parts.push(`> ${conversation.system.trim().replace(/\n/g, "\n> ")}`);
  for (const { question, answers } of shownTurns(conversation)) {
    parts.push(`## ${question.includes("\n") ? "Question" : question}`);
    if (question.includes("\n")) parts.push(question);
    for (const { model, text, note } of answers) {
      parts.push(`### ${model}`, text.trim() || `*${note || "no answer"}*`);
    }
  }
  return `${parts.join("\n\n")}\n`;
}

export const toJson = (conversation) => `${JSON.stringify(conversation, null, 2)}\n`;
