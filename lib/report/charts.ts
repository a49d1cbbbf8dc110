/**
 * The figures of a report as SVG, by vega-lite. Colours are the page's CSS variables with the light ones behind them, so
 * that one picture serves both light and dark; a file of its own gets the light ones.
 */
import type { TopLevelSpec } from "vega-lite";
import type { Measure, Variant } from "../eval/results.ts";
import { measures } from "../eval/results.ts";
import type { SetRole } from "../eval/questions.ts";
import type { LogLine } from "../train/log.ts";
import type { ReportGroup } from "./data.ts";
import { escape } from "./html.ts";

export interface Figure {
  /** Of its file: "loss". */
  name: string;
  title: string;
  /** What is to be known to read it. */
  note: string;
  svg: string;
}

const ink = "var(--ink, #15201c)", soft = "var(--soft, #50605a)", line = "var(--line, #d5deda)";
const tuned = "var(--tuned, #006a55)", base = "var(--base, #54617f)";
/** Of groups, in their order; told apart by their dashes too, for print without colours. */
const colours = [
  ...["var(--one, #006a55)", "var(--two, #b4530a)", "var(--three, #3d4fa3)", "var(--four, #9a2f5e)"],
  ...["var(--five, #6b7a12)", "var(--six, #54617f)"],
];
const dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3]];

const config = {
  background: "transparent",
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif",
  view: { stroke: null },
  axis: {
    ...{ labelColor: soft, titleColor: soft, tickColor: line, domainColor: line, gridColor: line },
    ...{ labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal" },
  },
  legend: {
    ...{ labelColor: ink, titleColor: soft, labelFontSize: 13, orient: "top", title: null, symbolSize: 200 },
    labelLimit: 240,
  },
} as const;

/** A picture of its own, for viewers that know no CSS variables. */
export function svgFile(svg: string): string {
  return svg.replaceAll(/var\(--[\w-]+, (#[0-9a-f]{6})\)/g, "$1").replace(
    /(<svg[^>]*>)/,
    '$1<rect width="100%" height="100%" fill="white"/>',
  );
}

async function draw(spec: Omit<TopLevelSpec, "$schema" | "config">, label: string): Promise<string> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  const compiled = compile({ ...spec, config } as unknown as TopLevelSpec).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logLevel: vega.None });
  try {
    return (await view.toSVG()).replace("<svg ", `<svg role="img" aria-label="${escape(label)}" `);
  } finally {
    view.finalize();
  }
}

/** Mean and spread over seeds of one number of the log, by step. A step counts where every seed has it. */
export function bandOf(
  logs: LogLine[][],
  valueOf: (line: LogLine) => number | undefined,
): { step: number; mean: number; low: number; high: number }[] {
  const [first = []] = logs;
  const bySteps = logs.map((lines) => new Map(lines.map((line) => [line.step, valueOf(line)])));
  return first.flatMap(({ step }) => {
    const values = bySteps.map((steps) => steps.get(step)).filter((value) => value !== undefined);
    if (values.length < logs.length) return [];
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [{ step, mean, low: Math.min(...values), high: Math.max(...values) }];
  });
}

/** Training loss over steps, a line for each group, the band from the lowest to the highest seed. */
export async function lossFigure(groups: ReportGroup[]): Promise<Figure | null> {
  const seeds = Math.max(0, ...groups.map(({ logs }) => logs.length));
  const held = groups.some(({ logs }) => logs.some((lines) => lines.some(({ eval_loss }) => eval_loss !== undefined)));
  const svg = await linesOf(groups, {
    valueOf: ({ loss }) => loss,
    title: "loss (nats per token)",
    label: "Training loss by step",
  });
  if (svg === null) return null;
  const band = seeds > 1 ? "Line: mean over seeds; band: lowest to highest seed." : "One seed, so no spread is known.";
  return {
    name: "loss",
    title: "Training loss",
    note: `Of each step's own rows, before its update. ${band}` +
      (held ? " Held-out losses are in log.jsonl." : ""),
    svg,
  };
}

/** Resident memory over steps; null where no log has it. */
export async function memoryFigure(groups: ReportGroup[]): Promise<Figure | null> {
  const svg = await linesOf(groups, {
    valueOf: ({ memory_bytes }) => memory_bytes === undefined ? undefined : memory_bytes / 1e6,
    title: "memory (MB)",
    label: "Resident memory by step",
  });
  const note = "Resident memory of the training process after each step; what a graphics card holds is not in it.";
  return svg === null ? null : { name: "memory", title: "Memory over time", note, svg };
}

/** Seconds of each step; null without a log. */
export async function stepFigure(groups: ReportGroup[]): Promise<Figure | null> {
  const svg = await linesOf(groups, {
    valueOf: ({ seconds }) => seconds,
    title: "seconds",
    label: "Seconds of each step",
  });
  const note = "Each step as it was timed, whatever else the machine did meanwhile.";
  return svg === null ? null : { name: "step-time", title: "Time of each step", note, svg };
}

async function linesOf(
  groups: ReportGroup[],
  { valueOf, title, label }: { valueOf: (line: LogLine) => number | undefined; title: string; label: string },
): Promise<string | null> {
  const values = groups.flatMap(({ label: group, logs }) =>
    bandOf(logs, valueOf).map((point) => ({ ...point, group }))
  );
  if (values.length === 0) return null;
  const domain = [...new Set(values.map(({ group }) => group))];
  const legend = domain.length > 1
    ? { symbolType: "stroke", symbolOpacity: 1, symbolStrokeWidth: 2.5, columns: columnsFor(domain, 400) }
    : null;
  const scale = (range: unknown[]) => ({ domain, range: domain.map((_, i) => range[i % range.length]) });
  const x = { field: "step", type: "quantitative", title: "step", axis: { tickMinStep: 1, grid: false } };
  const color = { field: "group", type: "nominal", scale: scale(colours), legend };
  return await draw({
    ...{ width: 440, height: 240, autosize: { type: "fit", contains: "padding" } },
    data: { values },
    layer: [
      {
        mark: { type: "area", opacity: 0.18 },
        encoding: { x, y: { field: "low", type: "quantitative", title }, y2: { field: "high" }, color },
      },
      {
        mark: { type: "line", strokeWidth: 2 },
        encoding: {
          ...{ x, color },
          y: { field: "mean", type: "quantitative", title, scale: { zero: true } },
          strokeDash: { field: "group", type: "nominal", scale: scale(dashes), legend },
        },
      },
    ],
  } as unknown as TopLevelSpec, label);
}

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

/** Legend entries beside each other: as many as have room, by the width that vega takes letters for. */
function columnsFor(names: string[], width: number): number {
  return Math.max(1, Math.floor(width / (40 + 0.8 * 13 * Math.max(...names.map(({ length }) => length)))));
}

/** What names begin with alike, up to a mark between words, and the rest: "cultural-qa-", ["4", "8", "16"]. */
export function shortNames(names: string[]): { common: string; short: string[] } {
  const [first = "", ...others] = names;
  let length = others.length === 0 ? 0 : first.length;
  while (length > 0 && others.some((name) => !name.startsWith(first.slice(0, length)))) length--;
  const common = /^.*[-_ ,/.]/s.exec(first.slice(0, length))?.[0] ?? "";
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
