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

Deno.test("renderChat strips the newline after a block and the space before it, as transformers does", () => {
  const template =
    "{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n";
  assert.equal(renderChat(template, { messages, source: "m" }), "Hi\n");
});

Deno.test("renderChat does not know today's date, so that tokens are the same every day", () => {
  const template = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}fixed{% endif %}";
  assert.equal(renderChat(template, { messages, source: "m" }), "fixed");
});

const bad: [name: string, template: string, message: RegExp][] = [
  [
    "its own refusal",
    "{{ raise_exception('roles must\nalternate') }}",
    /m: the chat template refuses .*: roles must alternate$/,
  ],
  ["a block left open", "{% for m in messages %}x", /cannot be rendered/],
  ["an unknown filter", "{{ messages | nonsense }}", /cannot be rendered/],
  ["a call of nothing", "{{ nonsense() }}", /cannot be rendered/],
  ["a huge range", "{% for i in range(1000000000) %}x{% endfor %}", /range\(\) of 1000000000 numbers/],
  ["a range without end", "{% for i in range(0, 10, 0) %}x{% endfor %}", /range\(\)/],
  [
    "loops within loops",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{{ i }}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
    /more than 1000000 steps|characters of output/,
  ],
  [
    "a text that doubles itself",
    "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    /characters of output/,
  ],
  ["a template of two million characters", "x".repeat(2_000_000), /2000000 characters long/],
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
