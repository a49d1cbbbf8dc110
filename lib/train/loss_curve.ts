/**
 * The log as a picture: an SVG file by vega-lite, and a small chart of characters for the terminal. Vega is loaded only
 * when an SVG is drawn, since that takes about 150 ms. Nothing is written or printed here.
 */
import plot from "simple-ascii-chart";
import type { TopLevelSpec } from "vega-lite";
import type { LogLine } from "./log.ts";

/** Loss over steps, held-out loss beside it where it was measured, as the text of an SVG file. */
export async function lossCurveSvg(lines: LogLine[], options: { title?: string } = {}): Promise<string> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  const values = lines.flatMap(({ step, loss, eval_loss }) => [
    { step, loss, series: "training" },
    ...(eval_loss === undefined ? [] : [{ step, loss: eval_loss, series: "held out" }]),
  ]);
  const heldOut = values.some(({ series }) => series === "held out");
  const spec: TopLevelSpec = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    ...(options.title ? { title: options.title } : {}),
    width: 640,
    height: 320,
    background: "white",
    data: { values },
    mark: { type: "line", point: lines.length <= 100 ? { size: 18 } : false, strokeWidth: 1.5 },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step", axis: { tickMinStep: 1, grid: false } },
      y: { field: "loss", type: "quantitative", title: "loss (nats per token)", scale: { zero: true } },
      color: {
        field: "series",
        type: "nominal",
        title: null,
        scale: { domain: heldOut ? ["training", "held out"] : ["training"] },
        ...(heldOut ? {} : { legend: null }),
      },
    },
  };
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: "none", logLevel: vega.None });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/**
 * The same in characters, `width` columns wide and about `height` lines high without axes; held-out losses are circles. More
 * steps than columns are averaged. Empty for an empty log.
 */
export function lossCurveText(lines: LogLine[], options: { width?: number; height?: number } = {}): string {
  if (lines.length === 0) return "";
  const width = options.width ?? 60, height = options.height ?? 8;
  const heldOut = lines.flatMap(({ step, eval_loss }) => eval_loss === undefined ? [] : [{ x: step, y: eval_loss }]);
  const points = average(lines, width);
  const top = Math.max(...points.map(([, y]) => y), ...heldOut.map(({ y }) => y));
  const yTicks = roundTicks(top, 4), intervals = yTicks.length - 1;
  const first = lines[0].step, last = lines[lines.length - 1].step;
  const chart = plot(points, {
    width,
    height: intervals * Math.max(1, Math.round(height / intervals)) + 1, // every tick on a line of its own
    yRange: [0, yTicks[intervals]],
    customXAxisTicks: [...new Set([first, Math.round((first + last) / 2), last])],
    customYAxisTicks: yTicks,
    points: heldOut,
    symbols: { point: "o" },
    formatter: (value) => Number(value.toPrecision(3)),
  });
  return chart.split("\n").map((line) => line.trimEnd()).filter((line) => line !== "").join("\n");
}

/** At most `count` points: the mean loss of equal stretches, placed evenly from the first step to the last. */
function average(lines: LogLine[], count: number): [number, number][] {
  if (lines.length <= count) return lines.map(({ step, loss }) => [step, loss]);
  const first = lines[0].step, last = lines[lines.length - 1].step;
  return Array.from({ length: count }, (_, i) => {
    const part = lines.slice(Math.floor((i * lines.length) / count), Math.floor(((i + 1) * lines.length) / count));
    const mean = part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
    return [first + ((last - first) * i) / (count - 1), mean];
  });
}

/** Multiples of 1, 2 or 5 times a power of ten from 0 to `top` or the first above it, `count` or fewer besides 0. */
function roundTicks(top: number, count: number): number[] {
  const rough = Math.max(top, 1e-9) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough)!;
  return Array.from({ length: Math.max(1, Math.ceil(top / step - 1e-9)) + 1 }, (_, i) => i * step);
}
