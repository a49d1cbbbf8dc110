/** The part of the table of options (options.ts) that belongs to `ftl experiment` alone. */
import { texts, yesNo } from "./option_spec.ts";

const grid = { commands: ["experiment"], group: "Grid" } as const;

export const experimentOptions = {
  set: texts("a setting over the file's, as in seed=[1,2] or max_steps=10; may be given several times", {
    ...grid,
    default: [],
    placeholder: "name=value",
  }),
  dry_run: yesNo("show what would be trained, and train nothing", { ...grid, default: false }),
} as const;
