/** `ftl serve`: a model and its adapters over HTTP, until Ctrl-C or SIGTERM. */
import manifest from "../../deno.json" with { type: "json" };
import { UserError } from "../errors.ts";
import type { Engine } from "../serve/engine.ts";
import { chatPage } from "../serve/chat_page.ts";
import { openListener } from "../serve/listen.ts";
import { defaultLimits, type Listening, serveAt } from "../serve/server.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { chooseEngine } from "./engine.ts";
import { loadOpenedModel, openNamedModel } from "./load.ts";
import { takenAddress } from "./network.ts";
import type { Settings } from "./options.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { makeEngine } from "./serve_engine.ts";
import { adapterDoor, adapterFolder } from "./serve_adapters.ts";
import { planServing, promptFormOf, type ServePlan } from "./serve_plan.ts";
import { apiKeyFromEnvironment, onInterrupt, printError } from "./terminal.ts";

type ServeSettings = Settings<"serve">;

/** Milliseconds that answers have to end once the server was told to. */
const patience = 30_000;

/** What answers: the engine, and what the routes need to know of its model. */
export interface Backend {
  engine: Engine;
  tokenizer: Tokenizer;
  chatTemplate: string | null;
  close(): Promise<void>;
}

export const shape: CommandShape = {
  name: "serve",
  summary: "Answers over HTTP as OpenAI's and Ollama's APIs do, with a base model and any number of adapters on it. " +
    "Without an argument: the last run in runs/.",
  usage: "[run folder | adapter folder | model]",
  most: 1,
  takes: [{ kinds: ["run", "model"] }],
  examples: [
    ["ftl serve runs/smollm2-135m-1", "base and tuned model side by side"],
    ["ftl serve model.gguf --adapter a/ --adapter b/", "one base, two adapters"],
    ["ftl serve --port 0 --alias gpt-4o", "any free port, under another name too"],
    ["ftl serve --allow-adapters runs", "POST /v1/load_lora_adapter adds one of these runs"],
    ["FTL_API_KEY=... ftl serve --host 0.0.0.0", "for other machines"],
  ],
};

export async function command(
  line: CommandLine,
  openBackend: (plan: ServePlan, settings: ServeSettings) => Promise<Backend> = openModels,
): Promise<number> {
  const settings = settingsOf("serve", line);
  const apiKey = settings.api_key ?? apiKeyFromEnvironment();
  refuseOpenDoor(settings, apiKey);
  const root = settings.allow_adapters === null ? null : adapterFolder(settings.allow_adapters);
  const plan = planServing(line.positional[0], settings);
  const listening = serveAt(takenAddress(settings) ?? openListener(settings));
  let backend: Backend | undefined;
  const interrupt = onInterrupt(() => console.log("\nfinishing what is running; once more ends at once"));
  try {
    backend = await openBackend(plan, settings);
    listening.serve({
      ...defaultLimits,
      engine: backend.engine,
      tokenizer: backend.tokenizer,
      promptForm: promptFormOf(plan, { template: backend.chatTemplate, style: settings.prompt_style }),
      defaultModel: plan.defaultModel,
      version: manifest.version,
      apiKey,
      corsOrigins: settings.cors,
      hosts: [settings.host, Deno.hostname()],
      systemPrompt: settings.system,
      adapters: root === null ? null : adapterDoor(plan, { engine: backend.engine, root }),
      page: chatPage(),
      report: (error) => void printError(error),
    });
    console.log(banner(plan, { listening, engine: backend.engine, hasKey: apiKey !== null }));
    await aborted(interrupt.signal);
  } finally {
    await listening.close(backend ? patience : 0);
    await backend?.engine.close(patience);
    await backend?.close();
    interrupt.release();
  }
  return 0;
}

/** The model from its files, and the engine over it. */
async function openModels(plan: ServePlan, settings: ServeSettings): Promise<Backend> {
  const chosen = await chooseEngine(settings.engine);
  const opened = await openNamedModel(plan.model);
  for (const { folder } of plan.adapters) {
    warnOfOtherBase(folder, { model: plan.model, name: opened.source.config.name });
  }
  const { threads } = settings;
  const model = await loadOpenedModel(opened, { engine: chosen, threads, purpose: "answers" });
  try {
    const engine = await makeEngine({
      model,
      base: plan.base,
      adapters: plan.adapters.map(({ id, folder, aliases }) => ({ id, folder, aliases })),
      contextLength: settings.context,
      parallel: settings.parallel,
      maxQueue: settings.max_queue,
    });
    const { tokenizer } = model;
    return { engine, tokenizer, chatTemplate: tokenizer.chatTemplate, close: () => model.close() };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Whoever can reach a public address could use the model, and what may be forced for that is too much for files. */
function refuseOpenDoor({ host, force, allow_adapters }: ServeSettings, apiKey: string | null): void {
  if (apiKey !== null || /^(localhost|127\.\d+\.\d+\.\d+|::1|\[::1\])$/i.test(host)) return;
  if (allow_adapters !== null) {
    throw new UserError(`Anyone who reaches ${host} could change what is served: --allow-adapters needs a key there`, {
      hint: "set FTL_API_KEY or --api-key",
      exitCode: 2,
    });
  }
  if (force) return;
  throw new UserError(`Anyone who reaches ${host} could use the model: it has no key`, {
    hint: "set FTL_API_KEY or --api-key, or say --force",
    exitCode: 2,
  });
}

function banner(
  plan: ServePlan,
  { listening: { url }, engine, hasKey }: { listening: Listening; engine: Engine; hasKey: boolean },
): string {
  const names = engine.models().map(({ id, aliases }) => aliases.length > 0 ? `${id} (${aliases.join(", ")})` : id);
  const key = hasKey ? ' -H "Authorization: Bearer $FTL_API_KEY"' : "";
  const body = JSON.stringify({ model: plan.defaultModel, messages: [{ role: "user", content: "What is batik?" }] });
  return [
    `serving   ${names.join(", ")}`,
    `context   ${engine.contextLength} tokens`,
    `page      ${url}`,
    `API       ${url}/v1${hasKey ? ", with a key" : ""}`,
    `try       curl ${url}/v1/chat/completions${key} -H "Content-Type: application/json" -d '${body}'`,
  ].join("\n");
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
