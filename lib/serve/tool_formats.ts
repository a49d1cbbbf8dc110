/**
 * How families of models write calls of functions: where a call begins and ends, the grammar of calls that must be made,
 * and what a model is told whose chat template knows nothing of functions.
 */
import type { Message } from "../text/chat_template.ts";
import type { RequestTool } from "./schema.ts";

export interface ToolFormat {
  name: "hermes" | "mistral" | "llama3";
  /** What a call begins with; null: the answer itself begins with the call's `{`. */
  marker: string | null;
  /** Marks that belong to calls, and so are read as text although a vocabulary may call them special. */
  marks: string[];
  /** Before the first call, around each, between two and after the last, for the grammar. */
  before: string;
  begin(name: string): string;
  end: string;
  separator: string;
  after: string;
}

const formats: Record<ToolFormat["name"], ToolFormat> = {
  hermes: {
    name: "hermes",
    marker: "<tool_call>",
    marks: ["<tool_call>", "</tool_call>"],
    before: "",
    begin: (name) => `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": `,
    end: "}\n</tool_call>",
    separator: "\n",
    after: "",
  },
  mistral: {
    name: "mistral",
    marker: "[TOOL_CALLS]",
    marks: ["[TOOL_CALLS]", "[ARGS]"],
    before: "[TOOL_CALLS] [",
    begin: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    end: "}",
    separator: ", ",
    after: "]",
  },
  llama3: {
    name: "llama3",
    marker: null,
    marks: ["<|python_tag|>"],
    before: "",
    begin: (name) => `{"name": ${JSON.stringify(name)}, "parameters": `,
    end: "}",
    separator: "; ",
    after: "",
  },
};

/** All marks of all formats. */
export const toolMarks: string[] = Object.values(formats).flatMap(({ marks }) => marks);

/** The format of a model by its chat template, and whether the template writes functions into the prompt itself. */
export function toolFormatOf(template: string | null): { format: ToolFormat; native: boolean } {
  const knows = template !== null && /\btools\b/.test(template);
  if (!knows || template.includes("<tool_call>")) return { format: formats.hermes, native: knows };
  if (template.includes("[TOOL_CALLS]")) return { format: formats.mistral, native: true };
  if (/python_tag|ipython|"parameters"/.test(template)) return { format: formats.llama3, native: true };
  return { format: formats.hermes, native: true };
}

/**
 * Messages for a template that knows no functions: the functions stand in the system message, calls and their results
 * in the text of messages, as Hermes models were taught.
 */
export function writeToolsAsText(messages: Message[], tools: RequestTool[]): Message[] {
  const written = messages.map((message): Message => {
    if (message.role === "tool") {
      return { role: "user", content: `<tool_response>\n${message.content}\n</tool_response>` };
    }
    const calls = message.tool_calls as { function: { name: string; arguments: unknown } }[] | undefined;
    if (!calls) return message;
    const text = calls.map(({ function: { name, arguments: given } }) =>
      `<tool_call>\n${JSON.stringify({ name, arguments: given })}\n</tool_call>`
    );
    return { role: message.role, content: [message.content, ...text].filter((part) => part !== "").join("\n") };
  });
  const joined = joinUserMessages(written);
  if (tools.length === 0) return joined;
  const [first, ...rest] = joined;
  return first.role === "system"
    ? [{ ...first, content: `${first.content}\n\n${instructions(tools)}` }, ...rest]
    : [{ role: "system", content: instructions(tools) }, ...joined];
}

/** Several results in a row are one turn. */
function joinUserMessages(messages: Message[]): Message[] {
  const joined: Message[] = [];
  for (const message of messages) {
    const last = joined[joined.length - 1];
    const both = last?.role === "user" && message.role === "user" &&
      (last.content.startsWith("<tool_response>") || message.content.startsWith("<tool_response>"));
    if (both) last.content += `\n${message.content}`;
    else joined.push({ ...message });
  }
  return joined;
}

function instructions(tools: RequestTool[]): string {
  const list = tools.map(({ function: { strict: _, ...spec } }) =>
    JSON.stringify({ type: "function", function: spec })
  );
  return [
    "# Tools",
    "",
    "You may call one or more functions to assist with the user query.",
    "",
    "You are provided with function signatures within <tools></tools> XML tags:",
    "<tools>",
    ...list,
    "</tools>",
    "",
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:",
    "<tool_call>",
    '{"name": <function-name>, "arguments": <args-json-object>}',
    "</tool_call>",
  ].join("\n");
}
