/**
 * The sample data sets, which travel inside the program, so that they are there without its folder; and which of them
 * belong together: to rows trained, the questions that show what they taught (data/README.md).
 */
import control20 from "../../data/control-20.jsonl" with { type: "text" };
import culturalQa16 from "../../data/cultural-qa-16.jsonl" with { type: "text" };
import culturalQa4 from "../../data/cultural-qa-4.jsonl" with { type: "text" };
import culturalQa8 from "../../data/cultural-qa-8.jsonl" with { type: "text" };
import culturalQaUnseen16 from "../../data/cultural-qa-unseen-16.jsonl" with { type: "text" };
import culturalQaUnseen4 from "../../data/cultural-qa-unseen-4.jsonl" with { type: "text" };
import culturalQaUnseen8 from "../../data/cultural-qa-unseen-8.jsonl" with { type: "text" };
import culturalQaUntaught16 from "../../data/cultural-qa-untaught-16.jsonl" with { type: "text" };

export const samples: Record<string, string> = {
  "data/cultural-qa-16.jsonl": culturalQa16,
  "data/cultural-qa-8.jsonl": culturalQa8,
  "data/cultural-qa-4.jsonl": culturalQa4,
  "data/cultural-qa-unseen-16.jsonl": culturalQaUnseen16,
  "data/cultural-qa-unseen-8.jsonl": culturalQaUnseen8,
  "data/cultural-qa-unseen-4.jsonl": culturalQaUnseen4,
  "data/cultural-qa-untaught-16.jsonl": culturalQaUntaught16,
  "data/control-20.jsonl": control20,
};

/** Questions without any relation to training data, for every run. */
export const controlSet = "data/control-20.jsonl";
/** Facts about the samples' topics that none of them teaches. */
export const untaughtSet = "data/cultural-qa-untaught-16.jsonl";

/** The other questions about a sample's facts: "data/cultural-qa-8.jsonl" -> "data/cultural-qa-unseen-8.jsonl". */
export function unseenSetOf(data: string): string | undefined {
  const [, count] = /^data\/cultural-qa-(\d+)\.jsonl$/.exec(data) ?? [];
  const name = `data/cultural-qa-unseen-${count}.jsonl`;
  return Object.hasOwn(samples, name) ? name : undefined;
}
