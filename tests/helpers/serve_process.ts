/** `ftl serve` as a process, with an engine that answers every prompt with that prompt, a token in 20 ms. */
import { readCommandLine } from "../../lib/cli/command_line.ts";
import { command, shape } from "../../lib/cli/serve.ts";
import { printError } from "../../lib/cli/terminal.ts";
import { fakeEngine } from "./fake_engine.ts";
import { chatMl, smollm2Tokenizer } from "./tokenizers.ts";

if (import.meta.main) {
  try {
    const line = readCommandLine(shape, Deno.args);
    if ("help" in line) throw new Error("it is started to serve");
    Deno.exitCode = await command(line, (plan) => {
      const tokenizer = smollm2Tokenizer();
      const models = [
        { ...plan.base, created: 1 },
        ...plan.adapters.map(({ id, aliases }) => ({ id, aliases, parent: plan.base.id, created: 2 })),
      ];
      const script = ({ tokens }: { tokens: Int32Array }) => ({ text: tokenizer.decode(tokens), pace: 20 });
      const engine = fakeEngine({ tokenizer, models, script });
      return Promise.resolve({ engine, tokenizer, chatTemplate: chatMl, close: () => Promise.resolve() });
    });
  } catch (error) {
    Deno.exitCode = printError(error);
  }
}
