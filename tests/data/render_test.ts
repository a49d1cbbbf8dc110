/** Tokens and loss masks of rows, against the reference run's and against the text they decode to. */
import assert from "node:assert/strict";
import type { Example } from "../../lib/data/examples.ts";
import { readRows } from "../../lib/data/read.ts";
import { type Rendering, renderRow } from "../../lib/data/render.ts";
import type { Row } from "../../lib/data/rows.ts";
import { UserError } from "../../lib/errors.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { type Tokenizer, tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { smollm2Metadata, smollm2Tokenizer, tinyBpeMetadata, tinySpmMetadata } from "../helpers/tokenizers.ts";

const url = (path: string) => new URL(`../../${path}`, import.meta.url);
const golden = JSON.parse(Deno.readTextFileSync(url("tests/golden/smollm2_16rows_adamw.json")));
const rows = await Array.fromAsync(readRows(openFile(url("data/cultural-qa-16.jsonl").pathname), { notes: [] }));
const maxLength = 2048;
const row = (instruction: string, output: string): Row => ({ place: "d.jsonl:5", instruction, input: "", output });
const chat = (...turns: string[]): Row => ({
  place: "d.jsonl:5",
  messages: turns.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content })),
});

function example(
  { example, promptTokens, notes }: Rendering,
): Example & { promptTokens: number; targetTokens: number } {
  assert(example, JSON.stringify(notes));
  return { ...example, promptTokens, targetTokens: example.targets.reduce((sum, target) => sum + target, 0) };
}

/** Text of the tokens that count. */
function targetText({ tokens, targets }: Example, tokenizer: Tokenizer): string {
  return tokenizer.decode([...tokens].filter((_, i) => targets[i] === 1));
}

Deno.test("renderRow gives the reference run's token ids for all 16 rows", () => {
  const tokenizer = smollm2Tokenizer();
  assert.equal(rows.length, 16);
  rows.forEach((row, i) => {
    const { tokens, targets, targetTokens } = example(renderRow(row, { tokenizer, maxLength }));
    assert.deepEqual([...tokens], golden.tokens[i]);
    assert.deepEqual([...targets], golden.tokens[i].map((_: number, j: number) => (j === 0 ? 0 : 1)));
    assert.equal(targetTokens, tokens.length - 1);
  });
});

Deno.test("renderRow with responseOnly counts the answer and its EOS, nothing before", () => {
  const tokenizer = smollm2Tokenizer();
  rows.forEach((row) => {
    const rendered = example(renderRow(row, { tokenizer, maxLength, responseOnly: true }));
    assert.equal(targetText(rendered, tokenizer), (row as { output: string }).output + "<|im_end|>");
    assert.equal(rendered.targets.indexOf(1), rendered.promptTokens);
    assert(tokenizer.decode(rendered.tokens.subarray(0, rendered.promptTokens)).endsWith("### Response:\n"));
  });
  assert.equal(example(renderRow(rows[0], { tokenizer, maxLength })).promptTokens, golden.greedy_after.prompt_tokens);
});

Deno.test("renderRow cuts by character where the answer's first token reaches into the prompt", () => {
  const tokenizer = smollm2Tokenizer();
  for (const answer of ["\n\nAnswer", "\nAnswer", " \n x", "\n"]) {
    const rendered = example(renderRow(row("Q", answer), { tokenizer, maxLength, responseOnly: true }));
    const text = targetText(rendered, tokenizer);
    assert(text.endsWith(answer + "<|im_end|>"), JSON.stringify(text));
    // At most the one token that holds both ends of the seam.
    assert(["", "\n", ":\n"].includes(text.slice(0, -(answer + "<|im_end|>").length)), JSON.stringify(text));
  }
});

Deno.test("renderRow puts BOS first where the model has it, once", () => {
  for (const metadata of [tinyBpeMetadata({ pre: "llama-bpe" }), tinySpmMetadata()]) {
    const tokenizer = tokenizerFromGguf(metadata, "tiny");
    const rendered = example(renderRow(row("What?", "Wax, dye."), { tokenizer, maxLength, responseOnly: true }));
    assert.equal(rendered.tokens[0], tokenizer.bosId);
    assert.equal(rendered.tokens.indexOf(tokenizer.bosId!, 1), -1);
    assert.equal(rendered.tokens.at(-1), tokenizer.eosIds[0]);
    const bos = tokenizer.tokenText(tokenizer.bosId!);
    const template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{{ eos_token }}{% endfor %}";
    const chatRow = example(renderRow(chat("Q", "A"), { tokenizer, maxLength, chatTemplate: template }));
    assert.equal(tokenizer.decode(chatRow.tokens).split(bos).length, 2);
    assert.equal(chatRow.tokens[0], tokenizer.bosId);
  }
});

Deno.test("renderRow does not write EOS twice", () => {
  const tokenizer = smollm2Tokenizer();
  const { tokens } = example(renderRow(row("Q", "A<|im_end|>"), { tokenizer, maxLength }));
  assert.deepEqual([...tokens], [...example(renderRow(row("Q", "A"), { tokenizer, maxLength })).tokens]);
});

Deno.test("renderRow of a conversation counts every answer with its end of turn", () => {
  const tokenizer = smollm2Tokenizer();
  const rendered = example(
    renderRow(chat("Hi", "Hello you", "Bye", "So long"), { tokenizer, maxLength, responseOnly: true }),
  );
  assert.equal(targetText(rendered, tokenizer), "Hello you<|im_end|>So long<|im_end|>");
  assert.equal(
    tokenizer.decode(rendered.tokens.subarray(0, rendered.promptTokens)),
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
  );
  const whole = example(renderRow(chat("Hi", "Hello you", "Bye", "So long"), { tokenizer, maxLength }));
  assert.deepEqual([...whole.tokens], [...rendered.tokens]);
  assert.equal(whole.targetTokens, whole.tokens.length - 1);
});

Deno.test("renderRow of a conversation finds the end of turn behind white space", () => {
  const tokenizer = smollm2Tokenizer();
  const chatTemplate = "{% for m in messages %}{{ m.role }}: {{ m.content }} \n{{ eos_token }}{% endfor %}";
  const rendered = example(renderRow(chat("Hi", "Hello"), { tokenizer, maxLength, responseOnly: true, chatTemplate }));
  assert.match(targetText(rendered, tokenizer), /Hello \n<\|im_end\|>$/);
});

Deno.test("renderRow with SentencePiece cuts between prompt and answer", () => {
  const tokenizer = tokenizerFromGguf(tinySpmMetadata(), "tiny");
  for (const answer of ["Hello world", " Hello", "é", "\n\nx", "我想"]) {
    const rendered = example(renderRow(row("Q", answer), { tokenizer, maxLength, responseOnly: true }));
    const before = tokenizer.decode(rendered.tokens.subarray(1, rendered.promptTokens));
    assert(before.endsWith("### Response:\n"), JSON.stringify(before));
    assert.equal(tokenizer.decode(rendered.tokens.subarray(1)), before + answer + "</s>");
  }
});

Deno.test("renderRow drops a row over max_length, or cuts it when told", () => {
  const tokenizer = smollm2Tokenizer();
  const { length } = golden.tokens[0];
  assert.equal(example(renderRow(rows[0], { tokenizer, maxLength: length })).tokens.length, length);
  const options = { tokenizer, maxLength: length - 1 };
  const dropped = renderRow(rows[0], options);
  const what = `${length} tokens, max_length is ${length - 1}`;
  assert.deepEqual(dropped.notes, [{ place: rows[0].place, what, action: "dropped" }]);
  assert.deepEqual([dropped.example, dropped.length], [undefined, length]);
  const cut = example(renderRow(rows[0], { ...options, tooLong: "truncate" }));
  assert.deepEqual([...cut.tokens], golden.tokens[0].slice(0, -1));
  const { notes } = renderRow(rows[0], { ...options, tooLong: "truncate" });
  assert.deepEqual(notes.map(({ action }) => action), ["cut"]);
});

Deno.test("renderRow drops a row of which no answer is left after cutting", () => {
  const { example, notes } = renderRow(rows[0], {
    tokenizer: smollm2Tokenizer(),
    maxLength: 20,
    tooLong: "truncate",
    responseOnly: true,
  });
  assert.equal(example, undefined);
  assert.equal(notes.at(-1)?.what, "no token that counts in the loss");
});

Deno.test("renderRow of a document counts every token and ends with EOS, however long it is", () => {
  const tokenizer = smollm2Tokenizer();
  const text = "A line of a long document.\n".repeat(10_000);
  const { tokens, targets } = example(renderRow({ place: "d.txt:1", text }, { tokenizer, maxLength: 16 }));
  assert.equal(tokens.at(-1), tokenizer.eosIds[0]);
  assert.equal(tokenizer.decode(tokens.subarray(0, -1)), text);
  assert.equal(targets.indexOf(0, 1), -1);
});

Deno.test("renderRow of a conversation counts a call of a tool as an answer", () => {
  const tokenizer = smollm2Tokenizer();
  const chatTemplate =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}" +
    "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  const calls = [{ type: "function", function: { name: "sum", arguments: { a: 1 } } }];
  const messages = [
    { role: "user", content: "Add" },
    { role: "assistant", content: "", tool_calls: calls },
    { role: "tool", content: "2" },
    { role: "assistant", content: "Two." },
  ];
  const tools = [{ type: "function", function: { name: "sum" } }];
  const options = { tokenizer, maxLength, responseOnly: true, chatTemplate };
  const rendered = example(renderRow({ place: "d:1", messages, tools }, options));
  assert.equal(
    targetText(rendered, tokenizer),
    '<call>{"name": "sum", "arguments": {"a": 1}}</call><|im_end|>Two.<|im_end|>',
  );
  assert(tokenizer.decode(rendered.tokens).startsWith('[{"type": "function"'));
  const { example: none, notes } = renderRow({ place: "d:1", messages, tools }, { tokenizer, maxLength });
  assert.equal(none, undefined);
  assert.deepEqual(notes, [{
    place: "d:1",
    what: "the model's chat template leaves out the call of sum",
    action: "dropped",
  }]);
});

const refused: [name: string, render: () => unknown, message: RegExp][] = [
  [
    "conversations for a model without a chat template",
    () => renderRow(chat("a", "b"), { tokenizer: tokenizerFromGguf(tinyBpeMetadata(), "t"), maxLength }),
    /^d\.jsonl:5: the model has no chat template/,
  ],
  [
    "a tokenizer without EOS",
    () => {
      const metadata = tinySpmMetadata({ eos_token_id: undefined });
      return renderRow(row("a", "b"), { tokenizer: tokenizerFromGguf(metadata, "t"), maxLength });
    },
    /no end-of-text token/,
  ],
  [
    "a conversation the template refuses",
    () => {
      const metadata = smollm2Metadata().set("tokenizer.chat_template", "{{ raise_exception('no system role') }}");
      return renderRow(chat("a", "b"), { tokenizer: tokenizerFromGguf(metadata, "t"), maxLength });
    },
    /^d\.jsonl:5: .*no system role/,
  ],
];
for (const [name, render, message] of refused) {
  Deno.test(`rendering refuses ${name} with one clear line`, () => {
    assert.throws(render, (error: unknown) => {
      assert(error instanceof UserError);
      assert.match(error.message, message);
      assert(error.hint);
      return true;
    });
  });
}
