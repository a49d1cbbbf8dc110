/** Figures of right answers: shares with their 95 % intervals, of base and tuned models, by what they were trained on. */
import type { TopLevelSpec } from "vega-lite";
import type { SetRole } from "../eval/questions.ts";
import { type Measure, measures, type Variant } from "../eval/results.ts";
import { base, draw, type Figure, ink, tuned } from "./charts.ts";
import type { ReportComparison, ReportGroup } from "./data.ts";

/** What is drawn of each set: what it shows, by the measures that suit its rows. */
const drawn: [SetRole, Measure][] = [
  ["trained", "exact"],
  ["trained", "f1"],
  ["unseen", "accepted"],
  ["unseen", "choice"],
  ["untaught", "accepted"],
  ["control", "accepted"],
  ["control", "choice"],
  ["given", "accepted"],
];

const setWords: Record<SetRole, string> = {
  trained: "Memorised",
  unseen: "Learned",
  untaught: "Never taught",
  control: "Forgotten",
  given: "Rows given",
};

/** Shares with their 95 % intervals, a figure for each set and measure that was taken. */
export async function accuracyFigures(groups: ReportGroup[]): Promise<Figure[]> {
  const figures = await Promise.all(drawn.map(async ([role, measure]): Promise<Figure[]> => {
    const values = groups.flatMap(({ label, sets }) =>
      sets.filter((set) => set.role === role).flatMap(({ scores }) =>
        (["base", "tuned"] as const).flatMap((variant) => {
          const estimate = scores[variant]?.[measure];
          if (!estimate) return [];
          const { value, low, high } = estimate;
          return [{ group: label, variant, value, low: low ?? value, high: high ?? value }];
        })
      )
    );
    if (values.length === 0) return [];
    const { title } = measures.find(({ key }) => key === measure)!;
    const svg = await accuracySvg(values, `${setWords[role]}, ${title}`);
    const name = `accuracy-${role}-${measure.replaceAll("_", "-")}`;
    return [{ name, title: `${setWords[role]}: ${title}`, note: "", svg }];
  }));
  return figures.flat();
}

/** What names begin with alike, up to a mark between words, and the rest: "cultural-qa-", ["4", "8", "16"]. */
export function shortNames(names: string[]): { common: string; short: string[] } {
  const [first = "", ...others] = names;
  let length = others.length === 0 ? 0 : first.length;
  while (length > 0 && others.some((name) => !name.startsWith(first.slice(0, length)))) length--;
  const common = /^.*[-_ ,/.#]/s.exec(first.slice(0, length))?.[0] ?? "";
  const short = names.map((name) => name.slice(common.length));
  return common.length < 4 || short.includes("") ? { common: "", short: names } : { common, short };
}

interface Bar {
  group: string;
  variant: Variant;
  value: number;
  low: number;
  high: number;
}

async function accuracySvg(values: Bar[], label: string): Promise<string> {
  const groups = [...new Set(values.map(({ group }) => group))];
  const variants = [...new Set(values.map(({ variant }) => variant))];
  const { common, short } = shortNames(groups);
  const turned = groups.length > 1 && short.some((name) => name.length > 24 / groups.length);
  const x = {
    ...{ field: "group", type: "nominal", title: common === "" ? null : `${common}…`, sort: short },
    axis: { labelAngle: turned ? -30 : 0, labelLimit: 180 },
  };
  const xOffset = { field: "variant", type: "nominal", sort: variants };
  const color = {
    ...{ field: "variant", type: "nominal" },
    scale: { domain: variants, range: variants.map((variant) => variant === "base" ? base : tuned) },
    ...variants.length > 1 ? {} : { legend: null },
  };
  const y = { type: "quantitative", title: null, scale: { domain: [0, 1] }, axis: { format: ".0%", tickCount: 5 } };
  const named = values.map((value) => ({ ...value, group: short[groups.indexOf(value.group)] }));
  return await draw({
    ...{ width: 300, height: turned ? 320 : 220, autosize: { type: "fit", contains: "padding" } },
    data: { values: named },
    layer: [
      { mark: { type: "bar", opacity: 0.85 }, encoding: { x, xOffset, color, y: { ...y, field: "value" } } },
      {
        mark: { type: "rule", color: ink, strokeWidth: 1.5 },
        encoding: { x, xOffset, y: { ...y, field: "low" }, y2: { field: "high" } },
      },
      {
        mark: { type: "tick", orient: "horizontal", color: ink, width: 8, thickness: 1.5 },
        encoding: { x, xOffset, y: { ...y, field: "low" } },
      },
      {
        mark: { type: "tick", orient: "horizontal", color: ink, width: 8, thickness: 1.5 },
        encoding: { x, xOffset, y: { ...y, field: "high" } },
      },
    ],
  } as unknown as TopLevelSpec, label);
}

/** A figure for each set of a comparison: who holds how many of the right answers. */
export async function comparedFigures({ sets, models }: ReportComparison): Promise<Figure[]> {
  return await Promise.all(sets.map(async ({ name, role, rows }, s): Promise<Figure> => {
    const values = models.flatMap(({ label, scores }) => {
      const estimate = scores[s].accepted;
      if (!estimate) return [];
      const { value, low, high } = estimate;
      return [{ model: label, value, low: low ?? value, high: high ?? value }];
    });
    const title = `Compared, ${setWords[role].toLowerCase()}: holds the answer`;
    return {
      name: `compared-${s + 1}-${name.replace(/[^\w.-]+/g, "-")}`,
      title,
      note: `${rows} questions of ${name}, the same to each.`,
      svg: await comparedSvg(values, title),
    };
  }));
}

async function comparedSvg(
  values: { model: string; value: number; low: number; high: number }[],
  label: string,
): Promise<string> {
  const { short } = shortNames(values.map(({ model }) => model));
  const y = { field: "model", type: "nominal", title: null, sort: short, axis: { labelLimit: 220 } };
  const axis = { format: ".0%", tickCount: 5, labelOverlap: false, labelFlush: false };
  const x = { type: "quantitative", title: null, scale: { domain: [0, 1] }, axis };
  const tick = { mark: { type: "tick", orient: "vertical", color: ink, height: 8, thickness: 1.5 } };
  return await draw({
    ...{ width: 440, height: 50 + 34 * values.length, autosize: { type: "fit", contains: "padding" } },
    data: {
      // As elsewhere: green is what training did, grey-blue a base as it was.
      values: values.map((value, i) => ({
        ...{ ...value, model: short[i], color: value.model.endsWith(", base") ? base : tuned },
      })),
    },
    layer: [
      {
        mark: { type: "bar", opacity: 0.85, height: 18 },
        encoding: { y, x: { ...x, field: "value" }, color: { field: "color", type: "nominal", scale: null } },
      },
      {
        mark: { type: "rule", color: ink, strokeWidth: 1.5 },
        encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" } },
      },
      { ...tick, encoding: { y, x: { ...x, field: "low" } } },
      { ...tick, encoding: { y, x: { ...x, field: "high" } } },
    ],
  } as unknown as TopLevelSpec, label);
}
