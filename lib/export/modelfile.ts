/**
 * The text of an Ollama Modelfile: which GGUF to load, how a prompt is put into the text the model was trained on, and
 * where an answer ends. The template itself comes from go_template.ts; nothing here reads or writes files.
 * Format: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx
 */
import type { GoTemplate } from "./go_template.ts";

export interface ModelfileOptions {
  /** File name of the model, beside the Modelfile. */
  gguf: string;
  /** File name of a LoRA GGUF to put on top, beside the Modelfile. */
  adapter?: string;
  template: GoTemplate;
  /** Texts of the tokens that end an answer, the one used in training first. */
  ends: string[];
  /** 0 answers as greedy decoding does, the same each time. */
  temperature?: number;
}

/** The Modelfile. */
export function modelfile({ gguf, adapter, template, ends, temperature = 0 }: ModelfileOptions): string {
  const stops = [...new Set([...ends, ...template.stops])].filter((stop) => stop !== "" && !/["\n\r]/.test(stop));
  const lines = [
    `# ollama create NAME -f Modelfile`,
    ...(template.exact
      ? []
      : ["# The chat template could not be converted exactly: compare its prompts with training's."]),
    ...(template.losesTools
      ? ["# Without functions: Ollama has no template for the way in which this model calls them."]
      : []),
    `FROM ./${gguf}`,
    ...(adapter ? [`ADAPTER ./${adapter}`] : []),
    `TEMPLATE """${template.text}"""`,
    ...stops.map((stop) => `PARAMETER stop "${stop}"`),
    `PARAMETER temperature ${temperature}`,
  ];
  return lines.join("\n") + "\n";
}
