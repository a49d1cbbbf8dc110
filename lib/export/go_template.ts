/**
 * Prompt templates in Go's text/template, as Ollama reads them, made from what training rendered.
 *
 * Texts stand in the template as they are: no trim markers are used, so that whitespace is never guessed. Ollama hands
 * a chat template `.Messages` and the joined `.System`, and an instruction template `.System`, `.Prompt` and `.Response`
 * of one turn at a time, deleting everything behind `.Response` in the last (ollama: template/template.go). A template that
 * names `.Tools` says thereby that the model can call functions; those and their arguments print as JSON.
 */
import { convertGGUFTemplateToOllama } from "@huggingface/ollama-utils";
import { type ToolTurns, toolTurnsOf } from "./tool_turns.ts";
import { type ChatTemplate, type Turns, turnsOf } from "./turns.ts";

export interface GoTemplate {
  text: string;
  /** Texts at which generation must end besides the end tokens; may be empty. */
  stops: string[];
  /** False when the template could only be converted approximately. */
  exact: boolean;
  /** Whether the model's own template knows functions in a form that Go's cannot say, such as with the id of a call. */
  losesTools?: boolean;
}

/**
 * The Go template of a chat template, or null when there is no way to express it. `dropBos` leaves out a BOS that the
 * template writes itself, for models where the runtime adds it.
 */
export function goTemplateOfChat(chat: ChatTemplate, options: { dropBos: boolean }): GoTemplate | null {
  const turns = turnsOf(chat);
  if (turns) {
    const bos = options.dropBos ? chat.bosToken ?? "" : "";
    const tools = turns.lastWithSystem ? null : toolTurnsOf(chat, turns), cut = withoutStart(turns, bos);
    const text = tools ? templateWithTools(cut, withoutToolStart(tools, bos)) : templateOfTurns(cut);
    return { text, stops: startMarks(turns), exact: true, losesTools: !tools && /\btools\b/.test(chat.template) };
  }
  const { template, bosToken, eosToken } = chat;
  const found = convertGGUFTemplateToOllama({ chat_template: template, bos_token: bosToken, eos_token: eosToken });
  if (!found) return null;
  return { text: found.ollama.template, stops: found.ollama.params?.stop ?? [], exact: false };
}

const content = "{{ .Content }}", systemText = "{{ $.System }}";
/** System messages stay in Ollama's list, so the first user message may be the second message. */
const isLast = "(eq (len (slice $.Messages $i)) 1)";
const isFirstUser = '(eq .Role "user") (or (eq $i 0) (and $.System (eq $i 1)))';

function templateOfTurns(turns: Turns): string {
  return [
    "{{ range $i, $_ := .Messages }}",
    `{{ if and ${isFirstUser} }}`,
    openingOf(turns),
    '{{ else if eq .Role "user" }}',
    turns.lastWithSystem ? eitherOf(isLast, turns.lastWithSystem, turns.later) : around(turns.later, content),
    '{{ else if eq .Role "assistant" }}',
    around([turns.answer, ""], content),
    "{{ end }}",
    `{{ if and (eq .Role "user") ${isLast} }}`,
    literal(turns.generation),
    "{{ end }}{{ end }}",
  ].join("");
}

function openingOf({ first, firstWithSystem, lastWithSystem }: Turns): string {
  if (!firstWithSystem) return around(first, content);
  return eitherOf(lastWithSystem ? isLast : "", firstWithSystem, first);
}

/** A user message with the system message, where there is one and `condition` holds, or by itself. */
function eitherOf(condition: string, withSystem: readonly string[], bare: readonly string[]): string {
  const test = condition ? `and $.System ${condition}` : "$.System";
  return `{{ if ${test} }}${around(withSystem, systemText, content)}{{ else }}${around(bare, content)}{{ end }}`;
}

/** The same with functions. What ends a run of results is written when another message, or none, follows. */
function templateWithTools(turns: Turns, tools: ToolTurns): string {
  const { opening, openingWithSystem, call, result, isWhole, isJson } = tools;
  const listed = ({ before, between, after, end }: ToolTurns["opening"]) =>
    literal(before) + `{{ range $n, $_ := $.Tools }}{{ if $n }}${literal(between)}{{ end }}` +
    `{{ ${isWhole ? "." : ".Function"} }}{{ end }}` + literal(after) + content + literal(end);
  /** Characters with which a call and any other answer begin alike. */
  let shared = 0;
  while (shared < turns.answer.length && turns.answer[shared] === call.before[shared]) shared++;
  const bare = listed(opening);
  const withTools = openingWithSystem
    ? `{{ if $.System }}${literal(openingWithSystem.before)}${systemText}${listed(openingWithSystem.rest)}` +
      `{{ else }}${bare}{{ end }}`
    : bare;
  return [
    '{{ $before := "" }}{{ range $i, $_ := .Messages }}',
    `{{ if and (eq $before "tool") (ne .Role "tool") }}${literal(result.after)}{{ end }}`,
    `{{ if and ${isFirstUser} }}`,
    `{{ if $.Tools }}${withTools}{{ else }}${openingOf(turns)}{{ end }}`,
    '{{ else if eq .Role "user" }}',
    around(turns.later, content),
    `{{ else if eq .Role "assistant" }}${literal(turns.answer.slice(0, shared))}`,
    // Ollama takes the first text in here, up to a brace, for the mark by which it knows that the model calls.
    `{{ if .ToolCalls }}{{ range $n, $_ := .ToolCalls }}{{ if eq $n 0 }}${literal(call.before.slice(shared))}`,
    `{{ else }}${literal(call.between)}{{ end }}`,
    `{{ .Function.Name }}${literal(call.middle)}{{ .Function.Arguments }}{{ end }}`,
    `{{ else }}${literal(turns.answer.slice(shared))}${content}{{ end }}`,
    '{{ else if eq .Role "tool" }}',
    `{{ if eq $before "tool" }}${literal(result.between)}{{ else }}${literal(result.before)}{{ end }}`,
    isJson ? "{{ json .Content }}" : content,
    "{{ end }}{{ $before = .Role }}{{ end }}",
    `{{ if eq $before "tool" }}${literal(result.after)}{{ end }}`,
    `{{ if ne $before "assistant" }}${literal(turns.generation)}{{ end }}`,
  ].join("");
}

/** Texts with one action between each two of them. */
function around(texts: readonly string[], ...actions: string[]): string {
  return texts.map((text, i) => literal(text) + (actions[i] ?? "")).join("");
}

/**
 * The Go template of an instruction prompt whose text has the slots `{instruction}`, `{input}` and `{output}`.
 * The user's prompt is the instruction, the system message the input; `withoutInput` is the text where there is none.
 * `end` is the end token that training appended.
 */
export function goTemplateOfInstruction(
  texts: { withInput: string; withoutInput: string },
  options: { end: string },
): GoTemplate {
  const [withInput, without] = [promptPart(texts.withInput), promptPart(texts.withoutInput)];
  const withSlots = (text: string) =>
    text.split(/(\{instruction\}|\{input\})/).map((part) => slots[part] ?? literal(part)).join("");
  // With no input and one text for both cases, an empty system message leaves the slot empty by itself. `.Response`
  // must stand once and outside of any branch: Ollama deletes what follows it in the last turn.
  const prompt = withInput === without
    ? withSlots(withInput)
    : `{{ if .System }}${withSlots(withInput)}{{ else }}${withSlots(without)}{{ end }}`;
  const heading = /(?:^|\n)(#+ [^\n{]*)\n\{instruction\}/.exec(withInput)?.[1];
  return { text: `${prompt}{{ .Response }}${literal(options.end)}`, stops: heading ? [heading] : [], exact: true };
}

const slots: Record<string, string> = { "{instruction}": "{{ .Prompt }}", "{input}": "{{ .System }}" };

/** What stands before the answer. */
function promptPart(text: string): string {
  const at = text.indexOf("{output}");
  if (at < 0 || at + "{output}".length !== text.length) throw new Error("a prompt text ends with {output}");
  return text.slice(0, at);
}

/**
 * Text that Go's parser takes as text: its own delimiters, a brace that would make one with what follows, and the quotes
 * that end a Modelfile's TEMPLATE, escaped.
 */
function literal(text: string): string {
  return text.replace(/\{\{|\{$|"""|\r/g, (found) => `{{ ${JSON.stringify(found)} }}`);
}

function withoutStart(turns: Turns, start: string): Turns {
  const cut = <T extends string[]>(parts: T): T =>
    start !== "" && parts[0].startsWith(start) ? [parts[0].slice(start.length), ...parts.slice(1)] as T : parts;
  return { ...turns, first: cut(turns.first), firstWithSystem: turns.firstWithSystem && cut(turns.firstWithSystem) };
}

function withoutToolStart(tools: ToolTurns, start: string): ToolTurns {
  const cut = <T extends { before: string }>(part: T): T =>
    part.before.startsWith(start) ? { ...part, before: part.before.slice(start.length) } : part;
  const { opening, openingWithSystem } = tools;
  return { ...tools, opening: cut(opening), openingWithSystem: openingWithSystem && cut(openingWithSystem) };
}

/** The marks that open a turn, such as `<|im_start|>`: a model that writes one has begun to speak for the user. */
function startMarks(turns: Turns): string[] {
  const marks = turns.generation.match(/<[|_A-Za-z0-9]+>|\[[A-Z]+\]/g) ?? [];
  return [...new Set(marks)].slice(0, 1);
}
