/**
 * The Alpaca prompts, word for word; they matter, since a model tuned on one form answers badly to another.
 *
 * "alpaca" is what Unsloth's Alpaca notebook renders: always three sections, `### Input:` kept even when it is empty.
 * "alpaca-short" uses Stanford Alpaca's two-section text when there is no input, with a newline after `### Response:` as
 * Axolotl writes it. Neither contains EOS, which render.ts appends as a token.
 */

export type AlpacaStyle = "alpaca" | "alpaca-short";

const withInput =
  "Below is an instruction that describes a task, paired with an input that provides further context. " +
  "Write a response that appropriately completes the request.\n\n" +
  "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{output}";

const withoutInput = "Below is an instruction that describes a task. " +
  "Write a response that appropriately completes the request.\n\n" +
  "### Instruction:\n{instruction}\n\n### Response:\n{output}";

/** The text with `{instruction}`, `{input}` and `{output}` still open, for writing other tools' templates. */
export function alpacaTemplate(style: AlpacaStyle, options: { hasInput: boolean }): string {
  return style === "alpaca" || options.hasInput ? withInput : withoutInput;
}

/** The whole text of a row; without `output`, the prompt that a model continues, which ends in `### Response:\n`. */
export function alpacaPrompt(
  row: { instruction: string; input?: string; output?: string },
  style: AlpacaStyle = "alpaca",
): string {
  const values: Record<string, string> = {
    instruction: row.instruction,
    input: row.input ?? "",
    output: row.output ?? "",
  };
  return alpacaTemplate(style, { hasInput: values.input !== "" }).replace(/\{(\w+)\}/g, (_, key) => values[key]);
}
