/** The tables of a report: what it comes to, every measure of every set, time and memory. */
import type { Estimate } from "../eval/bootstrap.ts";
import type { Spread } from "../eval/experiment.ts";
import { roleTitles, type SetRole } from "../eval/questions.ts";
import { type Measure, measures, type Scores } from "../eval/results.ts";
import type { ReportComparison, ReportCost, ReportData, ReportGroup } from "./data.ts";
import { type Html, html, type Part } from "./html.ts";

export function table(head: Part[], rows: Part[][]): Html {
  return html`
    <div class="table">
      <table>
        <thead>
          <tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr>
        </thead>
        <tbody>${rows.map(([first, ...rest]) =>
          html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`
        )}</tbody>
      </table>
    </div>
  `;
}

const isPercent = (measure: Measure) => measures.find(({ key }) => key === measure)!.percent;

export function showNumber(value: number, measure: Measure): string {
  if (isPercent(measure)) return `${(100 * value).toFixed(1)}\u00a0%`;
  return Math.abs(value) >= 1000 ? value.toPrecision(3) : value.toFixed(3);
}

/** The end of an interval: the value before it has the unit. */
const bare = (value: number, measure: Measure) => showNumber(value, measure).replace(/\s%$/, "");

export function showLoss(spread: Spread | null): Part {
  if (!spread) return "not measured";
  const { mean, low, high, seeds } = spread;
  const note = seeds === 1 ? "one seed" : `${low.toFixed(4)} to ${high.toFixed(4)}, ${seeds} seeds`;
  return html`${mean.toFixed(4)}<small>${note}</small>`;
}

/** What each set shows, by the measure that says it best. */
const inShort: [SetRole, string, Measure][] = [
  ["trained", "Memorised (exact)", "exact"],
  ["trained", "Memorised (token F1)", "f1"],
  ["unseen", "Learned", "accepted"],
  ["untaught", "Never taught", "accepted"],
  ["control", "Forgotten", "accepted"],
];

/** A line for each group: last loss, and what changed in each set, with its interval. */
export function shortTable(groups: ReportGroup[]): Html {
  const found = inShort.filter(([role, , key]) =>
    groups.some(({ sets }) => sets.some((set) => set.role === role && (set.scores.tuned ?? set.scores.base)?.[key]))
  );
  const trained = groups.some(({ finalLoss }) => finalLoss);
  return table(
    ["", trained && "Last loss", ...found.map(([, word]) => word)].filter((head) => head !== false),
    groups.map((group) => [
      group.label,
      ...trained ? [showLoss(group.finalLoss)] : [],
      ...found.map(([role, , key]) => showChange(group.sets.find((set) => set.role === role)?.scores, key)),
    ]),
  );
}

function showChange(scores: ReportGroup["sets"][number]["scores"] | undefined, key: Measure): Part {
  const base = scores?.base?.[key], tuned = scores?.tuned?.[key], change = scores?.change?.[key];
  if (!tuned) return base ? estimate(base, key) : "not measured";
  if (!base) return estimate(tuned, key);
  return html`${showNumber(base.value, key)} → ${showNumber(tuned.value, key)}<small>${
    change ? sayChange(change, key) : ""
  }</small>`;
}

/** Whether a change can be told from chance, by its interval. */
export function sayChange({ value, low, high }: Estimate, key: Measure): string {
  const one = (value: number) => (value > 0 ? "+" : "") + bare(value, key);
  if (value === 0 && low === 0 && high === 0) return "no change";
  if (low === null || high === null) return `change ${one(value)}, of one question`;
  const sure = low > 0 || high < 0;
  return `change ${one(value)} (${one(low)} to ${one(high)})${sure ? "" : ", may be chance"}`;
}

function estimate(found: Estimate | undefined, key: Measure): Part {
  if (!found) return "–";
  const { value, low, high } = found;
  if (low === null || high === null) return showNumber(value, key);
  return html`${showNumber(value, key)}<small>${bare(low, key)} to ${bare(high, key)}</small>`;
}

interface ScoreLine {
  who: string;
  /** Of the set. */
  name: string;
  questions: number;
  found: Scores;
}

/** Base and tuned model of every group on the sets of a role; a base that groups share stands there once. */
function linesOf(groups: ReportGroup[], role: SetRole): ScoreLine[] {
  const lines = groups.flatMap(({ label, sets }) =>
    sets.filter((set) => set.role === role).flatMap(({ scores, name }) =>
      (["base", "tuned"] as const).flatMap((variant) => {
        const found: Scores | undefined = scores[variant];
        const questions = found ? Math.max(...Object.values(found).map(({ rows }) => rows)) : 0;
        return found ? [{ label, variant: scores.tuned ? variant : null, name, questions, found }] : [];
      })
    )
  );
  const same = Map.groupBy(
    lines,
    ({ label, variant, name, found }) => JSON.stringify([name, found, variant === "base" ? null : label]),
  );
  return [...same.values()].map(([{ label, variant, ...line }, ...others]) => {
    if (others.length > 0) return { who: "base", ...line };
    return { who: variant === null ? label : `${label}, ${variant}`, ...line };
  });
}

/** For each kind of set a table of all measures, base and tuned model of every group. */
export function scoreTables(groups: ReportGroup[]): Html[] {
  const roles = Object.keys(roleTitles) as SetRole[];
  return roles.flatMap((role) => {
    const lines = linesOf(groups, role);
    if (lines.length === 0) return [];
    const columns = measures.filter(({ key }) => lines.some(({ found }) => found[key]));
    return [
      html`<h3>${capital(roleTitles[role])}</h3>${
        table(
          ["", "Questions", ...columns.map(({ title }) => headOf(title))],
          lines.map(({ who, name, questions, found }) => [
            who,
            html`${questions}<small>${name}</small>`,
            ...columns.map(({ key }) => estimate(found[key], key)),
          ]),
        )
      }`,
    ];
  });
}

/** Right answers, speed, price and size of models that were asked the same questions. */
export function comparedTable({ sets, models }: ReportComparison): Html {
  const or = (value: number | null, show: (value: number) => string) => value === null ? "not measured" : show(value);
  const priced = models.some(({ cost }) => cost !== null);
  return table(
    [
      "",
      ...sets.map(({ name, rows }) => html`Holds the answer<small>${name}, ${rows} questions</small>`),
      ...["First token", "Speed", ...priced ? ["Price of all answers"] : [], "Size"],
    ],
    models.map(({ label, models, scores, first_token_ms, tokens_per_second, cost, bytes }) => [
      html`${label}${models > 1 && html`<small>mean of ${models}</small>`}`,
      ...scores.map(({ accepted }, s) => [
        estimate(accepted, "accepted"),
        accepted && accepted.rows < sets[s].rows && html`<small>answered: ${accepted.rows}</small>`,
      ]),
      or(first_token_ms, (ms) => ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`),
      or(tokens_per_second, (speed) => `${speed.toFixed(speed < 100 ? 1 : 0)} tokens/s`),
      ...priced ? [or(cost, (cost) => cost.toPrecision(3))] : [],
      or(bytes, (bytes) => `${(bytes / 1e6).toFixed(1)} MB`),
    ]),
  );
}

export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** A measure's name at the head of a column, in one piece: "chrF" and "ROUGE-L" are names. */
const headOf = (title: string) => title === "chrF" ? title : capital(title).replaceAll("-", "\u2011");

export function costTable(costs: ReportCost[]): Html {
  const or = (value: number | null, show: (value: number) => string) => value === null ? "not measured" : show(value);
  const seconds = (value: number) => `${value.toFixed(1)} s`,
    energy = (value: number) => `${(value / 1000).toFixed(2)} kJ`;
  return table(
    [
      ...["", "Training", "of it: steps", "of it: the rest", "Measuring", "Speed", "Most memory"],
      ...["Energy, processors", "Energy, graphics cards"],
    ],
    costs.map((cost) => [
      cost.name,
      or(cost.trainSeconds, seconds),
      or(cost.stepSeconds, seconds),
      or(restOf(cost), seconds),
      or(cost.evalSeconds, seconds),
      or(cost.tokensPerSecond, (value) => `${Math.round(value)} tokens/s`),
      or(cost.memoryBytes, (value) => `${Math.round(value / 1e6)} MB`),
      or(cost.energyJoules, energy),
      or(cost.cardEnergyJoules, energy),
    ]),
  );
}

function restOf({ trainSeconds, stepSeconds }: ReportCost): number | null {
  return trainSeconds === null || stepSeconds === null ? null : Math.max(0, trainSeconds - stepSeconds);
}

/** The paper's setting and numbers beside ours. */
export function paperTable({ groups, setting, training }: ReportData): Html {
  const trained = groups.filter(({ rows, finalLoss }) => rows !== null && finalLoss !== null);
  const paperLoss: Record<number, string> = { 16: "0.1405", 8: "0.0700", 4: "0.0450" };
  return table(["", "The paper", "Here"], [
    [
      "Model",
      "Llama 3.1 8B",
      setting
        ? `${setting.model}${
          setting.parameters === null ? "" : `, ${setting.parameters.toLocaleString("en")} parameters`
        }`
        : "not measured",
    ],
    ["Trained by", "Unsloth, QLoRA", `ftl, QLoRA${setting ? `, on ${setting.engine}` : ""}`],
    ["Settings", "30 steps, LoRA r 16, learning rate 2e-4, batch 2 × 4", training ?? "not known"],
    ...trained.map(({ label, rows, finalLoss }) => [
      `Last loss, ${label} (${rows} rows)`,
      paperLoss[rows!] ?? "not given",
      showLoss(finalLoss),
    ]),
    [
      "Accuracy",
      "95 %, 87 % and 99.95 %",
      "see the tables: exact match, phrases held and choices are counted apart, with intervals",
    ],
  ]);
}
