/**
 * What a chat template writes around the messages of a conversation, found by rendering it with marked messages.
 *
 * A template language has no inverse, but nearly every chat template puts fixed text around each message. Those texts
 * are cut out of a few rendered conversations, put together again for longer ones, and compared with what the template
 * itself renders; a template that does anything else (drops old turns, moves the system message to the end) is reported
 * as such and not guessed at. All conversations end with the user, as a prompt for an answer does.
 */
import { type Message, renderChat } from "../text/chat_template.ts";

/** Fixed texts of a template. */
export interface Turns {
  /** Before and after the first user message when there is no system message. */
  first: [before: string, after: string];
  /** Text, system message, text, first user message, text; null when the template refuses a system message. */
  firstWithSystem: [string, string, string] | null;
  /**
   * Where the system message does not stand before the first user message but before the last (Mistral): from the end of
   * an answer to the system message, on to the user's, and after that. `firstWithSystem` is then for a first that is also
   * the last.
   */
  lastWithSystem: [string, string, string] | null;
  /** From the end of an answer to the next user message, and after that. */
  later: [before: string, after: string];
  /** From the end of a user message's text to an answer already given. */
  answer: string;
  /** The same where an answer is to be generated. */
  generation: string;
}

export interface ChatTemplate {
  /** Jinja source. */
  template: string;
  bosToken?: string;
  eosToken?: string;
  /** Whose template it is, for messages. */
  source: string;
}

const marks = { system: "\u0001SYS\u0001", user: "\u0001USE\u0001", assistant: "\u0001ANS\u0001" };

/** The template's fixed texts, or null when it is not made of such. Never throws for a template that cannot render. */
export function turnsOf(template: ChatTemplate): Turns | null {
  const render = (roles: string, addGenerationPrompt = true) => tryRender(template, { roles, addGenerationPrompt });
  const bare = render("u", false), prompt = render("u"), long = render("uau", false);
  if (bare === null || long === null || !prompt?.startsWith(bare)) return null;
  const first = bare.split(marks.user), later = long.split(new RegExp(`${marks.user}|${marks.assistant}`));
  if (first.length !== 2 || later.length !== 4 || later[0] !== first[0] || !later[1].startsWith(first[1])) return null;
  const turns: Turns = {
    first: [first[0], first[1]],
    firstWithSystem: systemParts(render("su", false)),
    lastWithSystem: null,
    later: [later[2], later[3]],
    answer: later[1].slice(first[1].length),
    generation: prompt.slice(bare.length),
  };
  if (turns.firstWithSystem && render("suau") !== compose(turns, conversation("suau"))) {
    turns.lastWithSystem = lastParts(render("suau", false));
  }
  for (const roles of ["u", "uau", "uauau", "uauauau"]) {
    if (render(roles) !== compose(turns, conversation(roles))) return null;
    if (turns.firstWithSystem && render("s" + roles) !== compose(turns, conversation("s" + roles))) return null;
  }
  return turns;
}

/** The text of a conversation that ends with the user, ready for the answer. */
export function compose(turns: Turns, messages: Message[]): string {
  const system = messages[0]?.role === "system" ? messages[0].content : null;
  const rest = system === null ? messages : messages.slice(1);
  const text = rest.map(({ role, content }, i) => {
    if (role === "assistant") return turns.answer + content;
    const { firstWithSystem, lastWithSystem } = turns;
    const hasSystem = system !== null && (lastWithSystem ? i === rest.length - 1 : i === 0);
    const parts = hasSystem ? i === 0 ? firstWithSystem : lastWithSystem : null;
    if (parts) return parts[0] + system + parts[1] + content + parts[2];
    const bare = i === 0 ? turns.first : turns.later;
    return bare[0] + content + bare[1];
  });
  return text.join("") + turns.generation;
}

function systemParts(rendered: string | null): [string, string, string] | null {
  const system = rendered?.indexOf(marks.system) ?? -1;
  const parts = rendered?.split(new RegExp(`${marks.system}|${marks.user}`));
  if (system < 0 || parts?.length !== 3 || rendered!.indexOf(marks.user) < system) return null;
  return [parts[0], parts[1], parts[2]];
}

/** The same of the last user message in "suau". */
function lastParts(rendered: string | null): [string, string, string] | null {
  const parts = rendered?.split(new RegExp(Object.values(marks).join("|")));
  const order = rendered?.match(new RegExp(Object.values(marks).join("|"), "g"))?.join();
  if (parts?.length !== 5 || order !== [marks.user, marks.assistant, marks.system, marks.user].join()) return null;
  return [parts[2], parts[3], parts[4]];
}

/** Conversations are written as roles: "suau". */
function conversation(roles: string): Message[] {
  return [...roles].map((letter) => {
    const role = letter === "s" ? "system" : letter === "u" ? "user" : "assistant";
    return { role, content: marks[role] };
  });
}

/** null when the template refuses the conversation; which ones it takes is what is being found out. */
function tryRender(template: ChatTemplate, options: { roles: string; addGenerationPrompt: boolean }): string | null {
  const { template: text, ...rest } = template;
  try {
    const messages = conversation(options.roles);
    return renderChat(text, { ...rest, messages, addGenerationPrompt: options.addGenerationPrompt });
  } catch {
    return null;
  }
}
