/** Prompt templates for Ollama: what Go renders from them is what training rendered, character for character. */
import assert from "node:assert/strict";
import { alpacaPrompt, type AlpacaStyle, alpacaTemplate } from "../../lib/data/prompt.ts";
import { goTemplateOfChat, goTemplateOfInstruction } from "../../lib/export/go_template.ts";
import { jinjaOfInstruction } from "../../lib/export/instruction_jinja.ts";
import { modelfile } from "../../lib/export/modelfile.ts";
import { type Message, renderChat } from "../../lib/text/chat_template.ts";
import { llama32Template, qwenGroupedTemplate, qwenTemplate } from "../helpers/chat_templates.ts";
import { goMissing, type OllamaCase, ollamaPrompts } from "../helpers/ollama_template.ts";

/** Chat templates of the families, shortened where only tools are concerned. */
const chatTemplates: Record<string, { template: string; bosToken: string; eosToken: string }> = {
  smollm2: {
    template: "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" +
      "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}" +
      "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    bosToken: "<|im_start|>",
    eosToken: "<|im_end|>",
  },
  llama3: {
    template: "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + " +
      "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    bosToken: "<|begin_of_text|>",
    eosToken: "<|eot_id|>",
  },
  gemma: {
    template: "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + " +
      "'\n\n' -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- set rest = messages -%}" +
      "{%- endif -%}{%- for message in rest -%}{%- if message['role'] == 'assistant' -%}{%- set role = 'model' -%}" +
      "{%- else -%}{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '\n' + " +
      "(first if loop.first else '') }}{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}" +
      "{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}",
    bosToken: "<bos>",
    eosToken: "<eos>",
  },
  mistral: {
    template: "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}" +
      "{{ raise_exception('no system message') }}{% elif message['role'] == 'user' %}" +
      "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}" +
      "{% endif %}{% endfor %}",
    bosToken: "<s>",
    eosToken: "</s>",
  },
  mistralV3: {
    template: "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}" +
      "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}" +
      "{%- for message in loop_messages %}{%- if message['role'] == 'user' %}" +
      "{%- if loop.last and system_message is defined %}" +
      "{{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' }}{%- else %}" +
      "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}" +
      "{%- else %}{{- ' ' + message['content'] | trim + eos_token }}{%- endif %}{%- endfor %}",
    bosToken: "<s>",
    eosToken: "</s>",
  },
  odd: {
    template:
      "{% for m in messages %}{{ '<{{ \"\"\"' + m['role'] + '}}>\r\n' + m['content'] + '</end>' }}{% endfor %}" +
      '{% if add_generation_prompt %}{{ \'<{{ """assistant}}>\r\n\' }}{% endif %}',
    bosToken: "",
    eosToken: "</end>",
  },
};

const system: Message = { role: "system", content: 'Be "brief".\nUse {{ braces }} and ünïcode 🙂.' };
const turns: Message[] = [
  { role: "user", content: "Was ist Jollof?\n\n- reis\n- tomate" },
  { role: "assistant", content: "A rice dish {of} <b>West Africa</b>." },
  { role: "user", content: "And in Ghana? '''`\\n`" },
  { role: "assistant", content: "Also." },
  { role: "user", content: "Why?" },
];
const conversations = [turns.slice(0, 1), turns.slice(0, 3), turns];

Deno.test({
  name: "goTemplateOfChat() renders in Go what the Jinja template renders, with and without a system message",
  ignore: goMissing !== null,
  fn: async () => {
    const cases: OllamaCase[] = [], expected: string[] = [];
    for (const [name, chat] of Object.entries(chatTemplates)) {
      const go = goTemplateOfChat({ ...chat, source: name }, { dropBos: false });
      assert.equal(go?.exact, true, name);
      for (const messages of name === "mistral" ? conversations : conversations.flatMap((c) => [c, [system, ...c]])) {
        cases.push({ template: go!.text, messages });
        expected.push(renderChat(chat.template, { ...chat, messages, addGenerationPrompt: true, source: name }));
      }
    }
    assert.deepEqual(await ollamaPrompts(cases), expected);
  },
});

const tools = ["current_weather", "stop"].map((name) => ({
  type: "function",
  function: {
    name,
    description: `To ${name} "now".`,
    parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
  },
}));
const call = (name: string, args: Record<string, unknown>, i = 0) => ({
  id: `call0000${i}`,
  type: "function",
  function: { name, arguments: args },
});
const toolTalk: Message[] = [
  { role: "user", content: "Weather in Accra?" },
  { role: "assistant", content: "", tool_calls: [call("current_weather", { city: "Accra", days: [1, 2] })] },
  { role: "tool", content: 'It is "31 C",\nhumid.', name: "current_weather", tool_call_id: "call00000" },
  { role: "assistant", content: "Hot." },
  { role: "user", content: "And stop?" },
  { role: "assistant", content: "", tool_calls: [call("stop", {})] },
  { role: "tool", content: "{}", name: "stop", tool_call_id: "call00000" },
];
const twoCalls: Message[] = [
  toolTalk[0],
  { role: "assistant", content: "", tool_calls: [call("current_weather", { city: "Ho" }), call("stop", {}, 1)] },
  { role: "tool", content: "30", name: "current_weather", tool_call_id: "call00000" },
  { role: "tool", content: "ok", name: "stop", tool_call_id: "call00001" },
];
const system2: Message = { role: "system", content: "Be kind." };

/** What Go writes of JSON: the same value without spaces. */
function withGoJson(text: string, values: unknown[]): string {
  for (const value of values) {
    for (const filter of ["tojson", "tojson(indent=4)"]) {
      const spaced = renderChat(`{{ tools[0] | ${filter} }}`, { messages: [], tools: [value], source: "json" });
      text = text.replaceAll(spaced, JSON.stringify(value));
    }
  }
  return text;
}

Deno.test({
  name:
    "goTemplateOfChat() renders functions, calls and results in Go as the Jinja template does, but for JSON's spaces",
  ignore: goMissing !== null,
  fn: async () => {
    const cases: OllamaCase[] = [], expected: string[] = [], names: string[] = [];
    const add = (name: string, chat: { template: string; bosToken: string; eosToken: string }, talk: Message[]) => {
      const go = goTemplateOfChat({ ...chat, source: name }, { dropBos: false })!;
      assert.deepEqual([go.exact, go.losesTools, go.text.includes(".Tools")], [true, false, true], name);
      for (const list of [[], tools.slice(0, 1), tools]) {
        for (const messages of [talk, [system2, ...talk]]) {
          for (const [i, { role }] of messages.entries()) {
            if (role !== "user" && role !== "tool") continue;
            // A template may ask for all results of a turn together.
            if (messages[i + 1]?.role === "tool") continue;
            const part = messages.slice(0, i + 1);
            const options = { ...chat, messages: part, tools: list.length > 0 ? list : undefined, source: name };
            const text = renderChat(chat.template, { ...options, addGenerationPrompt: true });
            const args = part.flatMap((m) =>
              (m.tool_calls as ReturnType<typeof call>[] ?? []).map((c) => c.function.arguments)
            );
            cases.push({
              template: go.text,
              messages: part.map(({ role, content, tool_calls }) => ({
                role,
                content,
                toolCalls: tool_calls as unknown[],
              })),
              tools: list,
            });
            expected.push(withGoJson(text, [...tools, ...args]));
            names.push(`${name}, ${list.length} functions, ${i + 1} messages`);
          }
        }
      }
    };
    const marks = { bosToken: "<s>", eosToken: "</s>" };
    for (const [name, template] of Object.entries({ qwenTemplate, qwenGroupedTemplate })) {
      add(name, { template, ...marks }, toolTalk);
      add(name, { template, ...marks }, twoCalls);
    }
    add("llama32Template", { template: llama32Template, ...marks }, toolTalk);
    // Ollama finds the mark of a call by the first text behind .ToolCalls.
    const mark = "{{ if .ToolCalls }}{{ range $n, $_ := .ToolCalls }}{{ if eq $n 0 }}";
    assert.ok(
      cases[0].template.includes(`${mark}<tool_call>\n{"name": "`) ||
        cases[0].template.includes(`${mark}\n<tool_call>`),
    );
    assert.ok(cases.at(-1)!.template.includes(`${mark}{"name": "`));
    const found = await ollamaPrompts(cases);
    for (const [i, text] of found.entries()) assert.equal(text, expected[i], names[i]);
    assert.ok(found.length > 60, `${found.length} prompts`);
  },
});

Deno.test("goTemplateOfChat() leaves functions out where the template writes the ids of calls, and the Modelfile says so", () => {
  const template = qwenTemplate.replace("+ tool_call.name +", "+ message.tool_calls[0].id + tool_call.name +");
  const chat = { template, bosToken: "<s>", eosToken: "</s>", source: "with ids" };
  const go = goTemplateOfChat(chat, { dropBos: false })!;
  assert.deepEqual([go.losesTools, go.text.includes(".Tools")], [true, false]);
  assert.match(modelfile({ gguf: "m.gguf", template: go, ends: [] }), /^# Without functions: /m);
  const plain = goTemplateOfChat({ ...chatTemplates.gemma, source: "gemma" }, { dropBos: false })!;
  assert.equal(plain.losesTools, false);
});

Deno.test("goTemplateOfChat() leaves out the BOS text where the runtime adds BOS", () => {
  const chat = { ...chatTemplates.llama3, source: "llama3" };
  assert.ok(goTemplateOfChat(chat, { dropBos: false })!.text.includes("<|begin_of_text|>"));
  assert.ok(!goTemplateOfChat(chat, { dropBos: true })!.text.includes("<|begin_of_text|>"));
});

Deno.test("goTemplateOfChat() says that a template which rewrites earlier turns is not converted exactly", () => {
  const dropping = "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}<|im_start|>{{ m['role'] }}\n" +
    "{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const go = goTemplateOfChat({ template: dropping, eosToken: "<|im_end|>", source: "t" }, { dropBos: false });
  assert.equal(go?.exact ?? false, false);
});

const rows = [
  { instruction: "What is Jollof rice?", input: "", output: "A dish of West Africa." },
  { instruction: "Translate.", input: 'Line one\n"two" {{ .System }}', output: "Ja\n\n" },
  { instruction: "{input} and {output} are not slots here 🙂", input: "x", output: "{instruction}" },
];

for (const style of ["alpaca", "alpaca-short"] as AlpacaStyle[]) {
  const texts = {
    withInput: alpacaTemplate(style, { hasInput: true }),
    withoutInput: alpacaTemplate(style, { hasInput: false }),
  };
  const messagesOf = (row: typeof rows[number]): Message[] => [
    ...(row.input ? [{ role: "system", content: row.input }] : []),
    { role: "user", content: row.instruction },
  ];

  Deno.test({
    name: `goTemplateOfInstruction() renders in Go the training prompt of style ${style}`,
    ignore: goMissing !== null,
    fn: async () => {
      const { text: template } = goTemplateOfInstruction(texts, { end: "<|im_end|>" });
      const cases = rows.map((row) => ({ template, messages: messagesOf(row) }));
      assert.deepEqual(
        await ollamaPrompts(cases),
        rows.map((row) => alpacaPrompt({ ...row, output: "" }, style)),
      );
      const all = rows.flatMap((row) => [...messagesOf(row), { role: "assistant", content: row.output }]);
      const [text] = await ollamaPrompts([{ template, messages: [...all, { role: "user", content: "Next" }] }]);
      const learnt = rows.map((row) => alpacaPrompt(row, style) + "<|im_end|>").join("");
      assert.equal(text, learnt + alpacaPrompt({ instruction: "Next" }, style));
    },
  });

  Deno.test(`jinjaOfInstruction() renders the training prompt of style ${style}`, () => {
    const template = jinjaOfInstruction(texts, { end: "<|im_end|>", bos: true });
    for (const row of rows) {
      const prompt = { messages: messagesOf(row), addGenerationPrompt: true, bosToken: "<s>", source: "t" };
      assert.equal(renderChat(template, prompt), "<s>" + alpacaPrompt({ ...row, output: "" }, style));
      const messages = [...messagesOf(row), { role: "assistant", content: row.output }];
      assert.equal(
        renderChat(template, { messages, bosToken: "<s>", source: "t" }),
        "<s>" + alpacaPrompt(row, style) + "<|im_end|>",
      );
    }
  });
}

Deno.test("modelfile() names the model, the template and every stop once", () => {
  const text = modelfile({
    gguf: "model.f16.gguf",
    adapter: "adapter.gguf",
    template: { text: "{{ .Prompt }}\n{{ .Response }}", stops: ["### Instruction:", "<|im_end|>"], exact: true },
    ends: ["<|im_end|>", "<|endoftext|>"],
  });
  assert.equal(
    text,
    "# ollama create NAME -f Modelfile\nFROM ./model.f16.gguf\nADAPTER ./adapter.gguf\n" +
      'TEMPLATE """{{ .Prompt }}\n{{ .Response }}"""\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "<|endoftext|>"\n' +
      'PARAMETER stop "### Instruction:"\nPARAMETER temperature 0\n',
  );
});

if (goMissing) console.log(`modelfile_test: ${goMissing}`);
