/**
 * Renders a conversation through a model's own chat template (Jinja, by @huggingface/jinja).
 *
 * Templates come with models and may be wrong or hostile: work and output are limited, and every failure becomes a
 * UserError. `strftime_now` is not defined on purpose: the same rows must give the same tokens on every day, and the
 * templates that use it fall back to a fixed date. Tokens and loss masks are lib/data's business.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { UserError } from "../errors.ts";

/** One turn. Other keys (tool_calls, name, ...) are handed to the template as they are. */
export interface Message {
  role: string;
  content: string;
  [key: string]: unknown;
}

const limits = { templateCharacters: 1 << 20, outputCharacters: 1 << 24, steps: 1_000_000, range: 100_000 };

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
      throw new Refusal(String(message));
    },
    messages,
    add_generation_prompt: options.addGenerationPrompt ?? false,
    bos_token: options.bosToken ?? "",
    eos_token: options.eosToken ?? "",
    ...(options.tools ? { tools: options.tools } : {}),
  };
  try {
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    return limited(new Interpreter(environment)).run(parsed(template)).value as string;
  } catch (error) {
    if (error instanceof Refusal) {
      throw new UserError(`${source}: the chat template refuses the conversation: ${oneLine(error.message)}`, {
        hint: "Roles must come in the order the model expects; see the model's chat template.",
      });
    }
    throw new UserError(`${source}: the chat template cannot be rendered: ${oneLine((error as Error).message)}`, {
      hint: "Give another template, or rows in Alpaca form.",
      cause: error,
    });
  }
}

/** Thrown by a template's own raise_exception. */
class Refusal extends Error {}

let last: { template: string; program: ReturnType<typeof parse> } | undefined;

/** The same template is rendered for every row, so the last one stays parsed. */
function parsed(template: string): ReturnType<typeof parse> {
  if (template.length > limits.templateCharacters) {
    throw new Error(`${template.length} characters long, at most ${limits.templateCharacters} are read`);
  }
  if (last?.template !== template) {
    // Whitespace options of transformers' apply_chat_template.
    last = { template, program: parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true })) };
  }
  return last.program;
}

/** Stops an interpreter that evaluates too many nodes, walks lists too often or builds too long a string. */
function limited(interpreter: Interpreter): Interpreter {
  const evaluate = interpreter.evaluate.bind(interpreter);
  const looped = new WeakSet<object>();
  let steps = 0;
  interpreter.evaluate = (statement, environment) => {
    if (statement?.type === "For") {
      const { iterable } = statement as unknown as { iterable: { lhs?: object } };
      looped.add(iterable.lhs ?? iterable);
    }
    const result = evaluate(statement, environment);
    // A loop costs as many steps as its list is long, since an empty body evaluates nothing.
    steps += statement && looped.has(statement) && Array.isArray(result.value) ? result.value.length : 1;
    if (steps > limits.steps) throw new Error(`more than ${limits.steps} steps`);
    if (typeof result.value === "string" && result.value.length > limits.outputCharacters) {
      throw new Error(`more than ${limits.outputCharacters} characters of output`);
    }
    return result;
  };
  return interpreter;
}

/** Python's range() with a limited length. */
function range(start: number, stop?: number, step = 1): number[] {
  if (typeof stop !== "number") [start, stop] = [0, start];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= limits.range)) throw new Error(`range() of ${length} numbers, at most ${limits.range} are made`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").slice(0, 300);
}
