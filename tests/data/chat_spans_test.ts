/** Where answers begin and end under templates of several families, including ones that rewrite earlier turns. */
import assert from "node:assert/strict";
import { chatSpans } from "../../lib/data/chat_spans.ts";
import { UserError } from "../../lib/errors.ts";
import { chatMl } from "../helpers/tokenizers.ts";

const conversation = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "What is batik?" },
  { role: "assistant", content: " Wax and dye. " },
  { role: "user", content: "Where?" },
  { role: "assistant", content: "Java." },
];

const llama3 = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + " +
  "m.content | trim + '<|eot_id|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

const mistral =
  "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}" +
  "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}";

/** Gemma: another name for the assistant, and the system text inside the first turn. */
const gemma = "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}" +
  "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}" +
  "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}" +
  "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') + " +
  "m.content | trim + '<end_of_turn>\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

/** Qwen 3: only the last answer carries the (empty) block of thoughts, which the model must write itself. */
const qwen3 = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}" +
  "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** A reasoning model whose generation prompt is not what stands before an answer later on. */
const reasoning = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}";

const families: [name: string, template: string, answers: string[], after: string, warns: boolean][] = [
  ["ChatML", chatMl, [" Wax and dye. ", "Java."], "<|im_end|>", false],
  ["Llama 3", llama3, ["Wax and dye.", "Java."], "<|eot_id|>", false],
  ["Mistral", mistral, ["  Wax and dye. ", " Java."], "</s>", false],
  ["Gemma", gemma, ["Wax and dye.", "Java."], "<end_of_turn>", false],
  ["Qwen 3", qwen3, [" Wax and dye. ", "<think>\n\n</think>\n\nJava."], "<|im_end|>", false],
  ["a reasoning model", reasoning, [" Wax and dye. ", "Java."], "<|end|>", true],
];
for (const [name, template, answers, after, warns] of families) {
  Deno.test(`chatSpans finds both answers under the template of ${name}`, () => {
    const { text, spans, warnings } = chatSpans(conversation, {
      template,
      bosToken: "<s>",
      eosToken: "</s>",
      source: "x",
    });
    assert.deepEqual(spans.map(({ start, end }) => text.slice(start, end)), answers);
    for (const { end } of spans) assert(text.startsWith(after, end), text.slice(end));
    assert.equal(warnings.length > 0, warns);
  });
}

Deno.test("chatSpans tells equal answers apart, and answers that end like what follows", () => {
  const messages = [
    { role: "user", content: "Say x" },
    { role: "assistant", content: "x<|im_end|>\n" },
    { role: "user", content: "Say x" },
    { role: "assistant", content: "x<|im_end|>\n" },
  ];
  const { text, spans } = chatSpans(messages, { template: chatMl, source: "x" });
  assert.deepEqual(spans.map(({ start, end }) => text.slice(start, end)), ["x<|im_end|>\n", "x<|im_end|>\n"]);
});

Deno.test("chatSpans of a conversation without answers has none", () => {
  assert.deepEqual(chatSpans(conversation.slice(0, 2), { template: chatMl, source: "x" }).spans, []);
});

Deno.test("chatSpans says which answer a template leaves out", () => {
  const template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
  assert.throws(() => chatSpans(conversation, { template, source: "data.jsonl:4" }), (error: unknown) => {
    assert(error instanceof UserError);
    assert.match(error.message, /data\.jsonl:4: the chat template leaves out message 3 \(assistant\)/);
    return true;
  });
});

Deno.test("chatSpans passes a template's refusal on", () => {
  const twice = [conversation[1], conversation[1], conversation[2]];
  assert.throws(
    () => chatSpans(twice, { template: gemma, source: "data.jsonl:4" }),
    /data\.jsonl:4: .*refuses.*alternate/,
  );
});
