/**
 * Renders a conversation through a model's own chat template (Jinja, by @huggingface/jinja).
 *
 * Templates come with models and may be wrong or hostile: work and output are limited, and every failure becomes a
 * UserError. `strftime_now` is not defined on purpose: the same rows must give the same tokens on every day, and the
 * templates that use it fall back to a fixed date. Tokens and loss masks are lib/data's business.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { UserError } from "../errors.ts";
import { limitCost } from "./template_limits.ts";

/** One turn. Other keys (tool_calls, name, ...) are handed to the template as they are. */
export interface Message {
  role: string;
  content: string;
  [key: string]: unknown;
}

/** Characters of a template, of them blanks in a row, and numbers of a range(). The longest templates known have 30,000. */
const limits = { template: 1 << 18, blanks: 1000, range: 100_000 };

/**
 * The text of a conversation. `source` says whose template it is, for messages.
 * Errors: UserError when the template is malformed, refuses the conversation, or runs past its limits.
 */
export function renderChat(template: string, options: {
  messages: Message[];
  addGenerationPrompt?: boolean;
  bosToken?: string;
  eosToken?: string;
  /** Functions the model may call, in OpenAI's form; absent where there are none. */
  tools?: unknown[];
  source: string;
}): string {
  const { source, messages } = options;
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception: (message: unknown) => {
      throw new Refusal(typeof message === "string" ? message : "it gives no reason");
    },
    add_generation_prompt: options.addGenerationPrompt ?? false,
    // As transformers hands it over; tools likewise.
    documents: null,
    bos_token: options.bosToken ?? "",
    eos_token: options.eosToken ?? "",
  };
  try {
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    const given = [environment.set("messages", messages), environment.set("tools", options.tools ?? null)];
    given.forEach(joinAsJson);
    const program = parsed(template), interpreter = new Interpreter(environment);
    limitCost(interpreter, { given, templateLength: template.length });
    return interpreter.run(program).value as string;
  } catch (error) {
    if (error instanceof Refusal) {
      throw new UserError(`${source}: the chat template refuses the conversation: ${oneLine(error.message)}`, {
        hint: "Roles must come in the order the model expects; see the model's chat template.",
      });
    }
    const { message } = error as Error;
    const what = /call stack/.test(message) ? "it is nested too deep, or calls itself without end" : oneLine(message);
    throw new UserError(`${source}: the chat template cannot be rendered: ${what}`, {
      hint: "Give another template, or rows in Alpaca form.",
      cause: error,
    });
  }
}

/** Thrown by a template's own raise_exception. */
class Refusal extends Error {}

/**
 * Makes an object that is joined to a text its JSON, as templates want it that expect a call's arguments as text (those of
 * DeepSeek); Python refuses to join them, the library would write "[object Map]".
 */
function joinAsJson(given: { value: unknown }): void {
  const { value } = given;
  if (!(value instanceof Map || Array.isArray(value))) return;
  for (const inner of value.values()) joinAsJson(inner);
  Object.defineProperty(value, "toString", { value: () => given.toString() });
}

let last: { template: string; program: ReturnType<typeof parse> } | undefined;

/** The same template is rendered for every row, so the last one stays parsed. */
function parsed(template: string): ReturnType<typeof parse> {
  if (last?.template !== template) {
    if (template.length > limits.template) {
      throw new Error(`${template.length} characters long, at most ${limits.template} are read`);
    }
    // The parser's expressions take the square of a run of blanks.
    if (new RegExp(`\\s{${limits.blanks}}`).test(template)) throw new Error(`${limits.blanks} blanks in a row`);
    // Whitespace options of transformers' apply_chat_template.
    last = { template, program: parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true })) };
  }
  return last.program;
}

/** Python's range() with a limited length. */
function range(start: unknown, stop?: unknown, step: unknown = 1): number[] {
  if (stop === undefined || stop === null) [start, stop] = [0, start];
  if (typeof start !== "number" || typeof stop !== "number" || typeof step !== "number") {
    throw new Error("range() of something else than numbers");
  }
  const first = start, by = step;
  const length = Math.max(0, Math.ceil((stop - first) / by));
  if (!(length <= limits.range)) throw new Error(`range() of ${length} numbers, at most ${limits.range} are made`);
  return Array.from({ length }, (_, i) => first + i * by);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").slice(0, 300);
}
