/** The part of the table of options (options.ts) that belongs to `ftl experiment` and `ftl report` alone. */
import { text, texts, yesNo } from "./option_spec.ts";

const output = { commands: ["experiment", "report"], group: "Output" } as const;
const grid = { commands: ["experiment"], group: "Grid" } as const;

export const experimentOptions = {
  set: texts("a setting over the file's, as in seed=[1,2] or max_steps=10; may be given several times", {
    ...grid,
    default: [],
    placeholder: "name=value",
  }),
  dry_run: yesNo("show what would be trained, and train nothing", { ...grid, default: false }),
  into: text("folder to write to (default: runs/NAME of an experiment; report/ inside what a report is of)", {
    ...output,
    default: null,
    placeholder: "folder",
    short: "o",
  }),
} as const;
