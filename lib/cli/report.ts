/** `ftl report`: one page of what a run, an experiment or a comparison did, and its figures as files beside it. */
import { join } from "node:path";
import { makeFolder } from "../files/folder.ts";
import { writeAtomic, writeTextAtomic } from "../files/atomic.ts";
import { UserError } from "../errors.ts";
import { accuracyFigures, comparedFigures } from "../report/accuracy_charts.ts";
import { lossFigures, memoryFigure, stepFigure, svgFile } from "../report/charts.ts";
import { reportPage } from "../report/page.ts";
import { pngOf } from "../report/png.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { readReport } from "./report_data.ts";

export const shape: CommandShape = {
  name: "report",
  summary:
    "Writes one HTML page, complete in itself, of what a run, an experiment or a comparison did: losses, right answers\n" +
    "with 95 % intervals, answers side by side, time and memory, settings, and what it cannot show. Figures are written\n" +
    "beside it as SVG and PNG. In a run folder it reads eval.json, which ftl eval RUN --output-file RUN/eval.json writes.",
  usage: "<run | experiment | comparison folder>",
  most: 1,
  takes: [{ kinds: ["run", "folder"] }],
  examples: [
    ["ftl report runs/sizes", "an experiment: writes runs/sizes/report/index.html"],
    ["ftl report runs/smollm2-135m-1", "one run"],
    ["ftl report compare -o page", "a comparison, into another folder"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("report", line);
  const [folder] = line.positional;
  if (folder === undefined) {
    throw new UserError("ftl report needs the folder of a run, an experiment or a comparison", {
      hint: "ftl report runs/sizes",
      exitCode: 2,
    });
  }
  const data = readReport(folder);
  const { groups } = data, trained = groups.filter(({ logs }) => logs.length > 0);
  const figures = {
    loss: await lossFigures(trained),
    // Of a comparison alone its own figures say it better.
    accuracy: trained.length > 0 || data.compared === null ? await accuracyFigures(groups) : [],
    compared: data.compared ? await comparedFigures(data.compared) : [],
    memory: await memoryFigure(trained),
    steps: await stepFigure(trained),
  };
  const into = settings.output_dir ?? join(folder, "report");
  makeFolder(into);
  const drawn = [...figures.loss, ...figures.accuracy, ...figures.compared, figures.memory, figures.steps]
    .filter((found) => found !== null);
  for (const figure of drawn) {
    const file = svgFile(figure);
    writeTextAtomic(join(into, `${figure.name}.svg`), file);
    writeAtomic(join(into, `${figure.name}.png`), await pngOf(file));
  }
  writeTextAtomic(join(into, "index.html"), reportPage(data, figures));
  const beside = drawn.length > 0 ? `, figures beside it as SVG and PNG: ${drawn.length}` : "";
  console.log(join(into, "index.html") + beside);
  return 0;
}
