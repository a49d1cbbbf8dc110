/**
 * Gets the answers of a turn, all columns at once. Whatever happens, text that has arrived stays: failures only add a
 * note to it. A busy server is asked again when it says so, an absent one when it is back.
 */
import { ServerTrouble, streamAnswer } from "./api.js";
import { app, systemOf } from "./app.js";
import { serverIsAway } from "./connection.js";
import { isRunning, messagesFor } from "./conversation.js";
import { announce, number } from "./dom.js";
import { askForKey } from "./key.js";
import { readTab, saveConversation } from "./store.js";

/** Milliseconds between two writes of an answer that grows. */
const saveEvery = 400;

/** A reload breaks the stream some moments before it ends the page; that is no failure, and not stored as one. */
const leavingTakes = 2000;
let leftAt = -leavingTakes;
export const pageIsLeaving = () => leftAt = performance.now();

/** `changed(turn, index)` is told of every change, several times between two frames too. */
export async function answerTurn(conversation, turn, changed) {
  app.conversations.set(conversation.id, conversation);
  saveConversation(conversation);
  const running = turn.answers.map((answer, index) =>
    isRunning(answer) ? answerOne(conversation, turn, index, changed) : null
  );
  await Promise.all(running);
  announce(
    turn.answers.map(({ model, state, note, text }) =>
      state === "done" ? `${model} has answered: ${text.slice(0, 600)}` : `${model}: ${note}`
    ).join(". "),
  );
}

async function answerOne(conversation, turn, index, changed) {
  const answer = turn.answers[index];
  const controller = new AbortController();
  app.jobs.set(answer, controller);
  let savedAt = performance.now();
  const tell = (force = false) => {
    changed(turn, index);
    if (!force && performance.now() - savedAt < saveEvery) return;
    savedAt = performance.now();
    // A conversation that was deleted meanwhile stays deleted.
    if (app.conversations.has(conversation.id)) saveConversation(conversation);
  };
  try {
    while (!await attempt(conversation, turn, index, controller.signal, tell)) { /* Asked again. */ }
    answer.state = "done";
    answer.note = answer.finish === "length" ? lengthNote(conversation, answer) : "";
  } catch (error) {
    const leaving = leftAt + leavingTakes - performance.now();
    if (leaving > 0) await new Promise((resolve) => setTimeout(resolve, leaving));
    if (controller.signal.aborted) {
      Object.assign(answer, {
        state: "stopped",
        note: answer.text ? "Stopped. What had arrived is kept." : "Stopped.",
        action: "again",
      });
    } else Object.assign(answer, { state: "failed", ...noteOf(error, answer) });
  } finally {
    app.jobs.delete(answer);
    tell(true);
  }
}

/** Asks once. True: answered. False: to be asked again. Throws what ends it. */
async function attempt(conversation, turn, index, signal, tell) {
  const answer = turn.answers[index];
  try {
    await receive(conversation, turn, index, signal, tell);
    return true;
  } catch (trouble) {
    if (!(trouble instanceof ServerTrouble) || answer.text !== "" || answer.reasoning !== "") throw trouble;
    if (trouble.kind === "busy") {
      await waitShown(Math.ceil(trouble.retryAfter ?? 2), signal, (left) => {
        answer.note = `The server is busy; asking again in ${left} s.`;
        tell();
      });
    } else if (trouble.kind === "away") {
      answer.note = "The server does not answer. This is asked when it is back.";
      tell(true);
      await orAborted(serverIsAway(), signal);
    } else if (trouble.kind === "key") {
      if (!await orAborted(askForKey(), signal)) throw trouble;
    } else throw trouble;
    answer.note = "";
    tell();
    return false;
  }
}

async function receive(conversation, turn, index, signal, tell) {
  const answer = turn.answers[index];
  const { temperature, top_p, max_tokens, seed } = conversation.sampling;
  const request = {
    model: answer.model,
    messages: messagesFor(conversation, turn, index, systemOf(conversation)),
    temperature,
    top_p,
  };
  if (max_tokens !== null) request.max_tokens = max_tokens;
  if (seed !== null) request.seed = seed;
  const start = performance.now();
  for await (const part of streamAnswer(request, readTab("key"), signal)) {
    if (part.text || part.reasoning) {
      answer.state = "writing";
      answer.text += part.text ?? "";
      answer.reasoning += part.reasoning ?? "";
      answer.pieces++;
      answer.ms = performance.now() - start;
      answer.firstMs ??= answer.ms;
    }
    if (part.finish) answer.finish = part.finish;
    if (part.usage) answer.usage = part.usage;
    tell();
  }
}

function noteOf(error, { text }) {
  const kept = text ? " What had arrived is kept." : "";
  const kind = error instanceof ServerTrouble ? error.kind : "page";
  switch (kind) {
    case "context":
      return {
        note: `${closed(error.message)}${kept} Edit this question or an earlier one, or begin a new chat.`,
        action: "again",
      };
    case "key":
      return { note: "The server wants its key.", action: "again" };
    case "away":
    case "cut":
      if (kind === "away") serverIsAway();
      return { note: `${closed(error.message)}${kept}`, action: "again" };
    case "busy":
    case "refused":
      return { note: `The server says: ${closed(error.message)}${kept}`, action: "again" };
    default:
      return { note: `The page failed: ${closed(String(error?.message ?? error))}${kept}`, action: "again" };
  }
}

const closed = (text) => /[.!?]$/.test(text) ? text : `${text}.`;

function lengthNote({ sampling }, { usage }) {
  const limit = app.info?.contextLength;
  if (usage && limit && usage.total_tokens >= limit) {
    return `The model's context of ${number(limit)} tokens is full: the answer ends here.`;
  }
  return sampling.max_tokens
    ? `The answer ends here: it may have ${number(sampling.max_tokens)} tokens (see Settings).`
    : "The answer ends here: it has as many tokens as it may have.";
}

/** Seconds that are counted down, ended at once by the signal. */
async function waitShown(seconds, signal, show) {
  for (let left = seconds; left > 0; left--) {
    show(left);
    await orAborted(new Promise((resolve) => setTimeout(resolve, 1000)), signal);
  }
}

/** What a promise brings, unless the signal comes first. */
export function orAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

export const runningIn = (conversation) => shownOrHidden(conversation).filter((answer) => app.jobs.has(answer));

const shownOrHidden = (conversation) => Object.values(conversation.turns).flatMap(({ answers }) => answers);

export function stop(conversation) {
  for (const answer of runningIn(conversation)) app.jobs.get(answer).abort();
}
