/** The part of the table of options (options.ts) that belongs to `ftl serve` alone. */
import { integer, text, texts, yesNo } from "./option_spec.ts";

const serving = { commands: ["serve"], group: "Server" } as const;
const capacity = { commands: ["serve"], group: "Capacity" } as const;

export const servingOptions = {
  host: text("address to listen on; 0.0.0.0: all of this machine's, which needs a key", {
    ...serving,
    default: "127.0.0.1",
    placeholder: "address",
  }),
  port: integer("port to listen on; 0: any free one", { ...serving, default: 8080, min: 0, max: 65535 }),
  api_key: text("key that requests must bring (default: FTL_API_KEY)", {
    ...serving,
    default: null,
    placeholder: "key",
  }),
  alias: texts("another name for the model that answers, or NAME=MODEL; may be given several times", {
    ...serving,
    default: [],
    placeholder: "name",
  }),
  allow_adapters: text("let clients add and remove adapters from inside this folder while the server runs", {
    ...serving,
    default: null,
    placeholder: "folder",
  }),
  cors: texts("origin whose pages may ask, such as https://app.example, or *; may be given several times", {
    ...serving,
    default: [],
    placeholder: "origin",
  }),
  force: yesNo("listen on a public address without a key", { ...serving, default: false }),
  context: integer("most tokens of a prompt and its answer; 0: as many as the model was made for", {
    ...capacity,
    default: 0,
    min: 0,
    max: 10_000_000,
  }),
  parallel: integer("answers at a time", { ...capacity, default: 8, min: 1, max: 256 }),
  max_queue: integer("requests that may wait; further ones are told to come again", {
    ...capacity,
    default: 64,
    min: 0,
    max: 100_000,
  }),
} as const;
