/** A report's data with hostile texts in every place where a file or a model may put one. */
import type { Estimate } from "../../lib/eval/bootstrap.ts";
import type { ReportData } from "../../lib/report/data.ts";
import { accuracyFigures, comparedFigures } from "../../lib/report/accuracy_charts.ts";
import { lossFigures, memoryFigure, stepFigure } from "../../lib/report/charts.ts";
import { reportPage } from "../../lib/report/page.ts";

export const hostile = `<script>alert(1)</script><img src=x onerror="alert('2')"> & "q" $body </style>`;

const share = (value: number): Estimate => ({ value, low: Math.max(0, value - 0.2), high: value + 0.1, rows: 16 });

export function reportData(text = hostile): ReportData {
  const log = (rate: number) =>
    Array.from({ length: 8 }, (_, i) => ({
      ...{ step: i + 1, loss: 3 * Math.exp(-rate * i), grad_norm: 1, learning_rate: 1e-3, tokens: 100 },
      ...{ seconds: 1 + 0.1 * i, memory_bytes: 5e8 + 1e6 * i },
    }));
  const scores = {
    base: { exact: share(0.2), loss: share(3) },
    tuned: { exact: share(0.7), loss: share(1) },
    change: { exact: share(0.5) },
  };
  const group = (label: string, rate: number) => ({
    ...{ label, rows: 4, logs: [log(rate), log(rate * 1.2)] },
    finalLoss: { mean: 0.2, low: 0.1, high: 0.3, seeds: 2 },
    sets: [{ name: text, role: "trained" as const, scores }],
  });
  return {
    title: text,
    about: text,
    version: "ftl 0",
    created: "2026-01-02T03:04:05Z",
    groups: [group("four", 0.3), group(text, 0.5)],
    setting: { model: text, parameters: 135e6, engine: text, promptStyle: "alpaca" },
    training: "30 steps",
    answers: [{
      ...{ role: "trained", question: text, reference: text },
      answers: [{ who: text, text, cut: true }, { who: "long", text: `${text} `.repeat(20), cut: false }],
    }],
    compared: {
      sets: [{ name: text, role: "unseen", rows: 16 }],
      models: [text, "four"].map((label, i) => ({
        ...{ label, models: i + 1, scores: [{ accepted: share(0.4) }] },
        ...{ first_token_ms: 80, tokens_per_second: 70, cost: null, bytes: 1e8 },
      })),
    },
    costs: [{
      ...{ name: text, trainSeconds: 10, stepSeconds: 8, evalSeconds: null, tokensPerSecond: 100, memoryBytes: 5e8 },
      ...{ energyJoules: null, cardEnergyJoules: 5000 },
    }],
    gaps: [text],
    files: [{ name: text, text }],
    commands: [text],
  };
}

export async function drawReport(data: ReportData): Promise<string> {
  return reportPage(data, {
    loss: await lossFigures(data.groups),
    accuracy: await accuracyFigures(data.groups),
    compared: data.compared ? await comparedFigures(data.compared) : [],
    memory: await memoryFigure(data.groups),
    steps: await stepFigure(data.groups),
  });
}
