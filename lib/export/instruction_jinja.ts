/**
 * A Jinja chat template for a model that was trained on an instruction prompt, so that chat programs which read the
 * template from the model (llama.cpp's server, vLLM, transformers) send exactly what training rendered.
 * The user message is the instruction, a system message the input of the next user message.
 */

/**
 * The template. `texts` have the slots `{instruction}`, `{input}` and, last, `{output}`; `end` is the end token that
 * training appended. `bos` writes the BOS token first, for readers that add none themselves.
 */
export function jinjaOfInstruction(
  texts: { withInput: string; withoutInput: string },
  options: { end: string; bos: boolean },
): string {
  const prompt = (text: string) =>
    text.replace(/\{output\}$/, "").split(/(\{instruction\}|\{input\})/).filter((part) => part !== "")
      .map((part) => slots[part] ?? JSON.stringify(part)).join(" + ");
  const [withInput, without] = [prompt(texts.withInput), prompt(texts.withoutInput)];
  const user = withInput === without
    ? `{{ ${withInput} }}`
    : `{% if state.input %}{{ ${withInput} }}{% else %}{{ ${without} }}{% endif %}`;
  return [
    options.bos ? "{{ bos_token }}" : "",
    "{% set state = namespace(input='') %}",
    "{% for message in messages %}",
    "{% if message['role'] == 'system' %}{% set state.input = message['content'] %}",
    `{% elif message['role'] == 'user' %}${user}{% set state.input = '' %}`,
    `{% elif message['role'] == 'assistant' %}{{ message['content'] + ${JSON.stringify(options.end)} }}{% endif %}`,
    "{% endfor %}",
  ].join("");
}

const slots: Record<string, string> = { "{instruction}": "message['content']", "{input}": "state.input" };
