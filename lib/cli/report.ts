/** `ftl report`: one page of what a run, an experiment or a comparison did, and its figures as files beside it. */
import { join } from "node:path";
import { makeFolder } from "../files/folder.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { UserError } from "../errors.ts";
import { accuracyFigures, lossFigure, memoryFigure, stepFigure, svgFile } from "../report/charts.ts";
import { reportPage } from "../report/page.ts";
import { type CommandShape, readCommandLine, settingsOf } from "./command_line.ts";
import { readReport } from "./report_data.ts";

export const shape: CommandShape = {
  name: "report",
  summary:
    "Writes one HTML page, complete in itself, of what a run, an experiment or a comparison did: losses, right answers\n" +
    "with 95 % intervals, answers side by side, time and memory, settings, and what it cannot show. Figures are written\n" +
    "beside it as SVG. In a run folder it reads eval.json, which ftl eval RUN --output-file RUN/eval.json writes.",
  usage: "<run | experiment | comparison folder>",
  most: 1,
  takes: [{ kinds: ["run", "folder"] }],
  examples: [
    ["ftl report runs/sizes", "an experiment: writes runs/sizes/report/index.html"],
    ["ftl report runs/smollm2-135m-1", "one run"],
    ["ftl report compare -o page", "a comparison, into another folder"],
  ],
};

export async function command(args: string[]): Promise<number> {
  const line = readCommandLine(shape, args);
  if ("help" in line) {
    console.log(line.help);
    return 0;
  }
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
    loss: await lossFigure(trained),
    accuracy: await accuracyFigures(groups),
    memory: await memoryFigure(trained),
    steps: await stepFigure(trained),
  };
  const into = settings.output_dir ?? join(folder, "report");
  makeFolder(into);
  const write = (name: string, text: string) => writeTextAtomic(join(into, name), text);
  const drawn = [figures.loss, ...figures.accuracy, figures.memory, figures.steps].filter((found) => found !== null);
  for (const { name, svg } of drawn) write(`${name}.svg`, svgFile(svg));
  write("index.html", reportPage(data, figures));
  console.log(`${join(into, "index.html")}${drawn.length > 0 ? `, figures beside it as SVG: ${drawn.length}` : ""}`);
  return 0;
}
