/** The report as one HTML document: no script, nothing to fetch, every text of a file or a model escaped. */
import page from "../../templates/report/page.html" with { type: "text" };
import style from "../../templates/report/page.css" with { type: "text" };
import { roleTitles, type SetRole } from "../eval/questions.ts";
import type { Figure } from "./charts.ts";
import type { ReportComparison, ReportData, ReportQuestion } from "./data.ts";
import { escape, type Html, html, type Part, raw } from "./html.ts";
import { capital, comparedTable, costTable, paperTable, scoreTables, shortTable } from "./tables.ts";

export interface ReportFigures {
  loss: Figure[];
  accuracy: Figure[];
  compared: Figure[];
  memory: Figure | null;
  steps: Figure | null;
}

export function reportPage(data: ReportData, figures: ReportFigures): string {
  const { compared } = data, alone = compared !== null && data.costs.length === 0 && data.training === null;
  const body = html`
    <h1>${data.title}</h1>
    <p>${data.about}</p>
    <p class="meta">${data.version}, ${data.created.slice(0, 16).replace("T", " ")} UTC</p>
    ${data.gaps.length > 0 && html`<ul class="alert">${data.gaps.map((gap) => html`<li>${gap}</li>`)}</ul>`}
    <h2>In short</h2>
    ${alone ? comparison(compared, figures.compared) : inShort(data)}
    ${!alone && losses(data, figures)}
    <h2>What it answers</h2>
    ${!alone && accuracy(data, figures)}
    ${scoreTables(data.groups)}
    ${!alone && compared && comparison(compared, figures.compared)}
    <h2>Answers side by side</h2>
    ${data.answers.length > 0 ? answers(data.answers) : notMeasured("no answers were kept")}
    ${!alone && costs(data, figures)}
    <h2>What this cannot show</h2>
    ${limits(data)}
    ${data.training !== null && besidePaper(data)}
    <h2>Settings</h2>
    <p>To do it again:</p>
    <pre>${data.commands.join("\n")}</pre>
    ${data.files.map(({ name, text }, i) =>
      html`
        <details${i === 0 && raw(" open")}>
          <summary>${name}</summary>
          <pre>${text}</pre>
          </details>
      `
    )}
  `;
  const parts: Record<string, string> = { title: escape(data.title), style, body: body.text };
  return page.replace(/\/\* \$style \*\/|\$(title|body)/g, (_, name = "style") => parts[name]);
}

const tunedToo = ({ groups }: ReportData) => groups.some(({ sets }) => sets.some(({ scores }) => scores.tuned));

function comparison(compared: ReportComparison, figures: Figure[]): Html {
  return html`
    <h3>Compared: the same questions to each model</h3>
    <div class="figures wide">${figures.map(figure)}</div>
    ${comparedTable(compared)}
    <p
      class="soft">First token: from the question to the first token of the answer, the way to a remote model and back included.
    Speed: tokens after the first. Both are medians over the answers, of local models one at a time. Size: the model's files as they lie on the disk, a tuned
    one's adapter included.</p>
  `;
}

/** Whether there are several settings to be told apart, as in the paper's figures. */
const isGrid = ({ groups }: ReportData) => groups.filter(({ finalLoss }) => finalLoss).length > 1;

function inShort(data: ReportData): Html {
  return html`
    ${shortTable(data.groups)}
    ${tunedToo(data) && html`
      <p
        class="soft">Base model → tuned model. In brackets 95 % intervals over the questions (bootstrap): where the interval of a
          change holds 0, the change may be chance.</p>
    `}
  `;
}

function losses(data: ReportData, figures: ReportFigures): Html {
  return html`
    <h2>How the loss fell</h2>
    ${isGrid(data) && html`<p class="soft">The paper's figures 2 and 6, from these trainings.</p>`}
    ${figures.loss.length > 0
      ? html`<div class="figures wide">${figures.loss.map(figure)}</div>`
      : notMeasured("no log of a training")}
  `;
}

function accuracy(data: ReportData, figures: ReportFigures): Html {
  if (figures.accuracy.length === 0) return notMeasured("ftl eval measures it, see the commands below");
  const likePaper = isGrid(data) && "The paper's figure 5, from these trainings. ";
  return html`
    <p class="soft">${likePaper}Bars: share of right answers; lines: 95 % intervals over the questions.</p>
    <div class="figures">${figures.accuracy.map(figure)}</div>
  `;
}

function costs({ costs }: ReportData, { memory, steps }: ReportFigures): Html {
  if (costs.length === 0) {
    return html`
      <h2>Time, memory, energy</h2>
      ${notMeasured("nothing was trained here")}
    `;
  }
  return html`
    <h2>Time, memory, energy</h2>
    ${costTable(costs)}
    <p
      class="soft">Training and measuring: the whole process, its start and the loading of the model included. Energy: of the
    whole machine while training, whatever else it did. Of processors: the RAPL counters of Linux, where they may be read. Of
    graphics cards: the power that nvidia-smi tells once a second, of all NVIDIA cards, added up over the time between; a card
    that does not tell leaves it unmeasured. What a step spends on forward, backward and update: not measured (on a GPU, ftl
    train --profile shows it).</p>
    ${(memory || steps) &&
      html`<div class="figures wide">${memory && figure(memory)}${steps && figure(steps)}</div>`}
    ${!memory && notMeasured("memory over time: the log does not have it")}
  `;
}

function besidePaper(data: ReportData): Html {
  return html`
    <h2>Beside the paper</h2>
    ${paperTable(data)}
    <p
      class="soft">Where model, tokenizer and rows are not the paper's, a loss per token here is no loss per token there, and
    its accuracy was counted in its own way. The columns stand side by side to show the course, not to be subtracted.</p>
  `;
}

function figure({ title, note, svg }: Figure): Html {
  return html`<figure><figcaption>${title}${note !== "" && html`<span>${note}</span>`}</figcaption>${
    raw(svg)
  }</figure>`;
}

function notMeasured(why: string): Html {
  return html`<p class="soft">Not measured: ${why}.</p>`;
}

/** Questions of each set that are seen at once; the others are folded in. */
const shownAtOnce = 3;

function answers(all: ReportQuestion[]): Html[] {
  const roles = Object.keys(roleTitles) as SetRole[];
  return roles.flatMap((role) => {
    const questions = all.filter((question) => question.role === role);
    if (questions.length === 0) return [];
    const first = questions.slice(0, shownAtOnce), rest = questions.slice(shownAtOnce);
    return [
      html`<h3>${capital(roleTitles[role])}</h3>
${first.map(question)}
${rest.length > 0 && html`<details><summary>${rest.length} more</summary>${rest.map(question)}</details>`}`,
    ];
  });
}

function question({ question, reference, answers }: ReportQuestion): Html {
  const said = [{ who: "reference", text: reference, cut: false }, ...answers];
  return html`
    <div class="question">
      <h4>${question}</h4>
      <dl>${said.map(({ who, text, cut }) =>
        html`
          <div>
            <dt>${who}</dt>
            <dd>${folded((text.trim() || "(nothing)") + (cut ? " [cut]" : ""))}</dd>
          </div>
        `
      )}</dl>
    </div>
  `;
}

/** Characters and lines of an answer that are seen at once. */
const longest = 300, mostLines = 7;

/** A long text shows its beginning and, on a click and in print, the whole. */
function folded(text: string): Part {
  if (text.length <= longest && text.split("\n").length <= mostLines) return text;
  return html`
    <details class="long">
      <summary><span>${text}</span></summary>
    </details>
  `;
}

function limits({ groups, setting }: ReportData): Html {
  const questions = groups.flatMap(({ sets }) =>
    sets.flatMap(({ scores }) => Object.values(scores).flatMap((found) => Object.values(found).map(({ rows }) => rows)))
  );
  const seeds = groups.flatMap(({ finalLoss }) => finalLoss?.seeds ?? []);
  const few = questions.length > 0 &&
    `Few questions: ${Math.min(...questions)} to ${
        Math.max(...questions)
      } a set. The intervals speak of other questions of ` +
      "the same kind, not of other kinds, and are somewhat too narrow with ten or fewer.";
  const spread = seeds.length === 0
    ? null
    : Math.max(...seeds) === 1
    ? "One seed: how much of a difference between trainings is chance was not measured."
    : `${Math.max(...seeds)} seeds: the spread over them is lowest to highest, too few for an interval.`;
  return html`<ul>${
    [
      few,
      setting && `One model: what ${setting.model} does says little of larger ones.`,
      spread,
      "Exact match against free text: a right answer in other words counts as wrong; a phrase held counts as right, whatever " +
      "stands around it. Neither is a person's judgement.",
      "Answers are the likeliest tokens, cut at a length; a sampled answer may differ.",
      "Trained rows answered well are memory, not knowledge: see the questions asked otherwise.",
    ].filter((line) => line !== null && line !== false).map((line) => html`<li>${line}</li>`)
  }</ul>`;
}
