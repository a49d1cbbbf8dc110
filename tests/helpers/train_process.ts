/** A run of 200 quick steps in the folder given, resumed when it holds checkpoints: to be killed by a test. */
import { join } from "node:path";
import { listCheckpoints } from "../../lib/train/checkpoint.ts";
import { bigramModel } from "./bigram_model.ts";
import { trainBigram } from "./train_bigram.ts";

const [folder] = Deno.args;
const files = { checkpoints: join(folder, "checkpoints"), log: join(folder, "log.jsonl") };
Deno.mkdirSync(folder, { recursive: true });
await trainBigram({
  model: bigramModel({ dropout: 0.2 }),
  files,
  resume: listCheckpoints(files.checkpoints).length > 0,
  settings: { maxSteps: 200, saveSteps: 7, learningRate: 0.02 },
  onEvent: (event) => {
    if (event.type === "checkpoint") console.log(event.step);
  },
});
