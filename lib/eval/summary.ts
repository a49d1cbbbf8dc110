/** From the answers of a set to its scores: each measure's mean with its interval, of base and tuned model and the change. */
import { type Estimate, estimateChange, estimateMean, type Share } from "./bootstrap.ts";
import type { Question } from "./questions.ts";
import { type Measure, measures, type RowAnswer, type RowResult, type Scores, type SetResult } from "./results.ts";
import { chrF, exactMatch, holdsAccepted, rougeL, tokenF1 } from "./text_metrics.ts";

/** The measures that an answer's text alone decides. */
export function scoreText(
  text: string,
  { reference, accepted }: Pick<Question, "reference" | "accepted">,
): Required<Pick<RowAnswer, "exact" | "accepted" | "f1" | "rouge_l" | "chrf">> {
  return {
    exact: exactMatch(text, reference),
    accepted: holdsAccepted(text, accepted),
    f1: tokenF1(text, reference),
    rouge_l: rougeL(text, reference),
    chrf: chrF(text, reference),
  };
}

/** What one row adds to a measure's mean; undefined where it has none. */
export function shareOf(row: RowResult, answer: RowAnswer | undefined, measure: Measure): Share | undefined {
  if (!answer) return undefined;
  switch (measure) {
    case "loss":
    case "perplexity":
      if (answer.loss === undefined || answer.loss_tokens === undefined) return undefined;
      return { sum: answer.loss, weight: answer.loss_tokens };
    case "choice":
    case "choice_for_length": {
      const picked = answer[measure];
      return picked === undefined ? undefined : { sum: picked === row.right_choice ? 1 : 0, weight: 1 };
    }
    default: {
      const value = answer[measure];
      return value === undefined || value === null ? undefined : { sum: value, weight: 1 };
    }
  }
}

/** The scores of a set's rows. The same rows and seed give the same numbers. */
export function summarize(rows: RowResult[], options: { seed: number }): SetResult["scores"] {
  const scores: SetResult["scores"] = {};
  for (const variant of ["base", "tuned"] as const) {
    if (!rows.some((row) => row[variant])) continue;
    scores[variant] = scoresOf((measure) => {
      const shares = rows.flatMap((row) => shareOf(row, row[variant], measure) ?? []);
      return inUnit(estimateMean(shares, options), measure);
    });
  }
  if (scores.base && scores.tuned) {
    scores.change = scoresOf((measure) => {
      // A ratio of perplexities is said by the losses' difference.
      if (measure === "perplexity") return null;
      const both = rows.flatMap((row) => {
        const base = shareOf(row, row.base, measure), tuned = shareOf(row, row.tuned, measure);
        return base && tuned ? [{ base, tuned }] : [];
      });
      return estimateChange(both.map(({ base }) => base), both.map(({ tuned }) => tuned), options);
    });
  }
  return scores;
}

function scoresOf(find: (measure: Measure) => Estimate | null): Scores {
  return Object.fromEntries(measures.flatMap(({ key }) => {
    const found = find(key);
    return found ? [[key, found]] : [];
  }));
}

/** Perplexity is the exponential of the mean loss, and so are the ends of its interval. */
function inUnit(found: Estimate | null, measure: Measure): Estimate | null {
  if (!found || measure !== "perplexity") return found;
  const exp = (x: number | null) => x === null ? null : Math.exp(x);
  return { ...found, value: Math.exp(found.value), low: exp(found.low), high: exp(found.high) };
}
