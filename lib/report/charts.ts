/**
 * The figures of a report over steps as SVG, by vega-lite, and what all figures share. Colours are the page's CSS variables with the light ones behind them, so
 * that one picture serves both light and dark; a file of its own gets the light ones.
 */
import type { TopLevelSpec } from "vega-lite";
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

export const ink = "var(--ink, #15201c)", soft = "var(--soft, #50605a)", line = "var(--line, #d5deda)";
export const tuned = "var(--tuned, #006a55)", base = "var(--base, #54617f)";
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

/** Height of the line with the title above a picture of its own, and the width that a letter is taken for. */
const titleHeight = 30, letterWidth = 7;

/** A picture of its own with its title, for viewers that know no CSS variables. */
export function svgFile({ title, svg }: Pick<Figure, "title" | "svg">): string {
  const [width, height] = ["width", "height"].map((side) =>
    Number(new RegExp(`<svg [^>]*\\b${side}="([\\d.]+)"`).exec(svg)![1])
  );
  const most = Math.floor((width - 16) / letterWidth);
  const shown = title.length > most ? `${title.slice(0, most - 1)}…` : title;
  const total = height + titleHeight;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}">` +
    `<rect width="100%" height="100%" fill="white"/>` +
    `<text x="8" y="20" font-family="${escape(config.font)}" font-size="14" fill="#15201c">${escape(shown)}</text>` +
    svg.replaceAll(/var\(--[\w-]+, (#[0-9a-f]{6})\)/g, "$1").replace("<svg ", `<svg y="${titleHeight}" `) +
    "</svg>\n";
}

export async function draw(spec: Omit<TopLevelSpec, "$schema" | "config">, label: string): Promise<string> {
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

/**
 * Training loss over steps: a line for each group, the band from the lowest to the highest seed; before it, where there
 * are several, the first training of the most rows alone. They are the paper's figures 6 and 2.
 */
export async function lossFigures(groups: ReportGroup[]): Promise<Figure[]> {
  const one = groups.toSorted((a, b) => (b.rows ?? 0) - (a.rows ?? 0))[0];
  const alone = one && groups.length > 1 ? [{ ...one, logs: one.logs.slice(0, 1) }] : [];
  const figures = await Promise.all([
    lossFigure(alone, { name: "loss-one", title: `Training loss of one run: ${one?.label}` }),
    lossFigure(groups, { name: "loss", title: groups.length > 1 ? "Training loss of every setting" : "Training loss" }),
  ]);
  return figures.filter((found) => found !== null);
}

async function lossFigure(groups: ReportGroup[], named: { name: string; title: string }): Promise<Figure | null> {
  const seeds = Math.max(0, ...groups.map(({ logs }) => logs.length));
  const held = groups.some(({ logs }) => logs.some((lines) => lines.some(({ eval_loss }) => eval_loss !== undefined)));
  const svg = await linesOf(groups, {
    valueOf: ({ loss }) => loss,
    title: "loss (nats per token)",
    label: named.title,
  });
  if (svg === null) return null;
  const band = seeds > 1 ? "Line: mean over seeds; band: lowest to highest seed." : "One seed, so no spread is known.";
  const note = `Of each step's own rows, before its update. ${band}` +
    (held ? " Held-out losses are in log.jsonl." : "");
  return { ...named, note, svg };
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

/** Legend entries beside each other: as many as have room, by the width that vega takes letters for. */
function columnsFor(names: string[], width: number): number {
  return Math.max(1, Math.floor(width / (40 + 0.8 * 13 * Math.max(...names.map(({ length }) => length)))));
}
