import assert from "node:assert/strict";
import { alpacaPrompt, alpacaTemplate } from "../../lib/data/prompt.ts";

const question = { instruction: "What is batik?", input: "", output: "Wax." };

Deno.test("alpacaPrompt keeps the Input section when it is empty, as the notebook does", () => {
  assert.equal(
    alpacaPrompt(question, "alpaca"),
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a " +
      "response that appropriately completes the request.\n\n### Instruction:\nWhat is batik?\n\n### Input:\n\n\n" +
      "### Response:\nWax.",
  );
  assert.equal(alpacaPrompt(question), alpacaPrompt(question, "alpaca"));
});

Deno.test("alpacaPrompt in short style has no Input section when it is empty", () => {
  assert.equal(
    alpacaPrompt(question, "alpaca-short"),
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n" +
      "### Instruction:\nWhat is batik?\n\n### Response:\nWax.",
  );
  const withInput = { ...question, input: "x" };
  assert.equal(alpacaPrompt(withInput, "alpaca-short"), alpacaPrompt(withInput, "alpaca"));
});

Deno.test("alpacaPrompt without an answer ends where the model goes on", () => {
  const prompt = alpacaPrompt({ instruction: "a" });
  assert(prompt.endsWith("### Response:\n"));
  assert.equal(alpacaPrompt({ instruction: "a", output: "b" }), prompt + "b");
});

Deno.test("alpacaPrompt takes braces and dollar signs in a row literally", () => {
  const prompt = alpacaPrompt({ instruction: "{input} $& $1", input: "{output}", output: "{instruction}$$" });
  assert(prompt.includes("### Instruction:\n{input} $& $1\n\n### Input:\n{output}\n\n### Response:\n{instruction}$$"));
});

Deno.test("alpacaTemplate shows the places of a row's parts", () => {
  assert(alpacaTemplate("alpaca", { hasInput: false }).endsWith("### Input:\n{input}\n\n### Response:\n{output}"));
  assert(!alpacaTemplate("alpaca-short", { hasInput: false }).includes("{input}"));
});
