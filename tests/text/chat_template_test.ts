import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
import { chatMl } from "../helpers/tokenizers.ts";

const messages = [{ role: "user", content: "Hi" }, { role: "assistant", content: "Hello" }];

Deno.test("renderChat writes the turns and, when asked, the opening of the next", () => {
  const turns = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n";
  assert.equal(renderChat(chatMl, { messages, source: "m" }), turns);
  assert.equal(
    renderChat(chatMl, { messages, addGenerationPrompt: true, source: "m" }),
    turns + "<|im_start|>assistant\n",
  );
});

Deno.test("renderChat hands over BOS, EOS and other keys of a message", () => {
  const template =
    "{{ bos_token }}{% for m in messages %}{{ m.name }}:{{ m.content | trim }}{{ eos_token }}{% endfor %}";
  const named = [{ role: "user", name: "Ana", content: " x " }];
  assert.equal(
    renderChat(template, { messages: named, bosToken: "<s>", eosToken: "</s>", source: "m" }),
    "<s>Ana:x</s>",
  );
});

Deno.test("renderChat hands over no tools and no documents as none, as transformers does", () => {
  const template = "{% if tools is defined and tools is none and documents is none %}none{% endif %}";
  assert.equal(renderChat(template, { messages, source: "m" }), "none");
  assert.equal(renderChat("{{ tools | length }}", { messages, tools: [{ type: "function" }], source: "m" }), "1");
});

Deno.test("renderChat joins a call's arguments to a text as JSON", () => {
  const call = { function: { name: "sum", arguments: { a: [1, "é"], b: null, c: { d: true } } } };
  const template = "{{ '<' + messages[0].tool_calls[0].function.arguments + '>' }}";
  const asked = [{ role: "assistant", content: "", tool_calls: [call] }];
  assert.equal(
    renderChat(template, { messages: asked, source: "m" }),
    '<{"a": [1, "é"], "b": null, "c": {"d": true}}>',
  );
});

Deno.test("renderChat strips the newline after a block and the space before it, as transformers does", () => {
  const template =
    "{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n";
  assert.equal(renderChat(template, { messages, source: "m" }), "Hi\n");
});

Deno.test("renderChat does not know today's date, so that tokens are the same every day", () => {
  const template = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}fixed{% endif %}";
  assert.equal(renderChat(template, { messages, source: "m" }), "fixed");
});

/** Templates that do harm are in tests/hostile/template_corpus.ts. */
const bad: [name: string, template: string, message: RegExp][] = [
  [
    "its own refusal",
    "{{ raise_exception('roles must\nalternate') }}",
    /m: the chat template refuses .*: roles must alternate$/,
  ],
];
for (const [name, template, message] of bad) {
  Deno.test(`renderChat answers ${name} with one clear line`, () => {
    assert.throws(() => renderChat(template, { messages, source: "m" }), (error: unknown) => {
      assert(error instanceof UserError);
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      return true;
    });
  });
}
