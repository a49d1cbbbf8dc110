/** The part of the table of options (options.ts) that belongs to `ftl eval` and `ftl compare` alone. */
import { integer, number, text, texts } from "./option_spec.ts";

const measuring = { commands: ["eval", "compare"], group: "Questions" } as const;
const judging = { commands: ["eval"], group: "Judge" } as const;
const remotes = { commands: ["eval", "compare"], group: "Remote models" } as const;
const comparing = { commands: ["compare"], group: "Models" } as const;

export const evaluationOptions = {
  remote: texts("a remote model: openai:MODEL, deepseek:MODEL or https://host/v1#MODEL; may be given several times", {
    ...comparing,
    default: [],
    placeholder: "model",
    short: "r",
  }),
  price: texts(
    "MODEL=INPUT/OUTPUT for a million tokens, as in openai:gpt-4o-mini=0.15/0.60, or a YAML file of such lines",
    {
      ...comparing,
      default: [],
      placeholder: "price|file",
    },
  ),
  limit: integer("questions of each set, the first ones; 0: all", { ...measuring, default: 0, min: 0 }),
  base_answers: text("file that keeps what was measured of the base model, for the next run on it (.json)", {
    ...measuring,
    commands: ["eval"],
    group: "Output",
    default: null,
    placeholder: "file",
  }),
  judge: text("a model that grades the answers, named as in ftl compare --remote; eval then keeps the network", {
    ...judging,
    default: null,
    placeholder: "model",
  }),
  judge_prompt: text("file with a prompt of your own for the judge, with {question}, {reference} and {answer}", {
    ...judging,
    default: null,
    placeholder: "file",
  }),
  key_env: text("environment variable with the key of models named by address", {
    ...remotes,
    default: "FTL_REMOTE_KEY",
    placeholder: "NAME",
  }),
  at_once: integer("requests under way at a time, to each remote model", { ...remotes, default: 4, min: 1, max: 256 }),
  per_minute: integer("requests a minute, to each remote model; 0: as many as it takes", {
    ...remotes,
    default: 0,
    min: 0,
  }),
  timeout: number("seconds that a remote model has for an answer", { ...remotes, default: 120, min: 0.1 }),
  retries: integer("further attempts when a remote model is busy or fails", {
    ...remotes,
    default: 4,
    min: 0,
    max: 20,
  }),
} as const;
