/**
 * Ollama's API, for programs that speak only that: POST /api/chat and /api/generate, streamed as lines of JSON unless
 * told otherwise, and what its clients ask before: /api/tags, /api/show, /api/version.
 */
import { startAnswer } from "./answer.ts";
import { asApiError } from "./api_error.ts";
import { check, readBody } from "./body.ts";
import { chatTaskOf } from "./chat.ts";
import { type ChatEvent, prepareChat, startChat } from "./chat_task.ts";
import { tokensOf } from "./completions.ts";
import type { ServedModel } from "./engine.ts";
import { chatFields, chatOf, ollamaChat, ollamaGenerate, ollamaShow } from "./ollama_schema.ts";
import { promptAndEnd, samplingOf, stopsOf } from "./sampling.ts";
import { chatRequest } from "./schema.ts";
import { findModel, lookUpModel, modelNotFound, type Service } from "./service.ts";
import { leaving, streamResponse, wholeResponse } from "./sse.ts";

/** curl -d, as Ollama's own examples have it, names its text a form. */
const types = /^application\/(json|x-www-form-urlencoded)$/;

export async function chat(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, ollamaChat, { ...service, types });
  const write: Write = (text, calls) => ({
    message: {
      role: "assistant",
      content: text,
      ...(calls ? { tool_calls: calls.map((call) => ({ function: call })) } : {}),
    },
  });
  if (!body.messages || body.messages.length === 0) return loaded(findModel(service, body.model), write);
  const task = chatTaskOf(service, chatOf(body));
  const prepared = await prepareChat(service, task);
  return await respond(service, request, {
    model: task.model,
    prompt: prepared.tokens.length,
    stream: body.stream ?? true,
    write,
    begin: async (signal) => (await startChat(service, prepared, { n: 1, signal }))[0],
  });
}

export async function generate(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, ollamaGenerate, { ...service, types });
  const write: Write = (response) => ({ response });
  const model = findModel(service, body.model);
  if (!body.prompt) return loaded(model, write);
  const stream = body.stream ?? true;
  const system = body.system ? [{ role: "system", content: body.system }] : [];
  const messages = [...system, { role: "user", content: body.prompt }];
  const asked = check({ ...chatFields(body), messages }, chatRequest);
  if (!body.raw) {
    const prepared = await prepareChat(service, chatTaskOf(service, asked));
    const begin = async (signal: AbortSignal) => (await startChat(service, prepared, { n: 1, signal }))[0];
    return await respond(service, request, { model, prompt: prepared.tokens.length, stream, write, begin });
  }
  const [tokens] = await tokensOf(service, body.prompt, "prompt");
  const begin = (signal: AbortSignal) =>
    startAnswer(service, {
      ...samplingOf(asked, service.tokenizer.vocabSize),
      model: model.id,
      ...promptAndEnd(service, tokens, asked.max_tokens ?? null),
      signal,
    }, { stops: stopsOf(asked.stop) });
  return await respond(service, request, { model, prompt: tokens.length, stream, write, begin });
}

/** The part of a line that differs between chat and generate. */
type Write = (text: string, calls?: { name: string; arguments: unknown }[]) => object;

interface Answering {
  model: ServedModel;
  prompt: number;
  stream: boolean;
  write: Write;
  begin(signal: AbortSignal): AsyncGenerator<ChatEvent> | Promise<AsyncGenerator<ChatEvent>>;
}

async function respond(service: Service, request: Request, options: Answering): Promise<Response> {
  const leave = leaving(request, service.stopping);
  try {
    const events = lines(await options.begin(leave.signal), options);
    if (options.stream) {
      return streamResponse(asText(events), {
        leave,
        keepAlive: 0,
        report: service.report,
        errorText: (error) => JSON.stringify({ error: asApiError(error, service.report).message }) + "\n",
        contentType: "application/x-ndjson",
      });
    }
    let text = "", last: Line | undefined;
    const calls: { name: string; arguments: unknown }[] = [];
    for await (const line of events) {
      text += line.text;
      calls.push(...line.calls ?? []);
      last = line;
    }
    return wholeResponse({ ...last?.fields, ...options.write(text, calls.length > 0 ? calls : undefined) }, leave);
  } catch (error) {
    leave.abort();
    throw error;
  }
}

interface Line {
  text: string;
  calls?: { name: string; arguments: unknown }[];
  fields: object;
}

/** The lines of an answer; calls stand in lines of their own, with their arguments whole. */
async function* lines(answer: AsyncGenerator<ChatEvent>, { model, prompt, write }: Answering): AsyncGenerator<Line> {
  const began = performance.now();
  let first: number | undefined;
  const open: { name: string; text: string }[] = [];
  const line = (text: string, more: object = {}, calls?: Line["calls"]): Line => {
    const head = { model: model.id, created_at: new Date().toISOString() };
    return { text, calls, fields: { ...head, ...write(text, calls), done: false, ...more } };
  };
  for await (const event of answer) {
    first ??= performance.now();
    if (event.kind === "text") yield line(event.text);
    else if (event.kind === "call") open[event.index] = { name: event.name, text: "" };
    else if (event.kind === "arguments") open[event.index].text += event.text;
    else if (event.kind === "called") {
      const { name, text } = open[event.index];
      yield line("", {}, [{ name, arguments: argumentsOf(text) }]);
    } else {
      const now = performance.now(), nanoseconds = (from: number, to: number) => Math.round((to - from) * 1e6);
      yield line("", {
        done: true,
        done_reason: event.finish === "length" ? "length" : "stop",
        total_duration: nanoseconds(began, now),
        load_duration: 0,
        prompt_eval_count: prompt,
        prompt_eval_duration: nanoseconds(began, first),
        eval_count: event.tokens,
        eval_duration: nanoseconds(first, now),
      });
    }
  }
}

async function* asText(events: AsyncGenerator<Line>): AsyncGenerator<string> {
  for await (const { fields } of events) yield JSON.stringify(fields) + "\n";
}

function argumentsOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Asked nothing, Ollama loads a model and says so. */
function loaded({ id }: ServedModel, write: Write): Response {
  const head = { model: id, created_at: new Date().toISOString() };
  return Response.json({ ...head, ...write(""), done: true, done_reason: "load" });
}

export function tags({ engine }: Service): Response {
  return Response.json({
    models: engine.models().map((model) => ({
      name: model.id,
      model: model.id,
      modified_at: new Date(model.created * 1000).toISOString(),
      size: 0,
      digest: "",
      details: details(model),
    })),
  });
}

export async function show(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, ollamaShow, { ...service, types });
  const models = service.engine.models(), wanted = body.model ?? body.name ?? "";
  const model = lookUpModel(models, wanted);
  if (!model) throw modelNotFound(models, wanted);
  return Response.json({
    modelfile: "",
    parameters: "",
    template: service.promptForm(model.id).template ?? "",
    details: details(model),
    model_info: { "general.architecture": "ftl", "ftl.context_length": service.engine.contextLength },
    capabilities: ["completion", "tools"],
    modified_at: new Date(model.created * 1000).toISOString(),
  });
}

export function version({ version }: Service): Response {
  return Response.json({ version });
}

function details({ parent }: ServedModel) {
  return {
    parent_model: parent ?? "",
    format: "ftl",
    family: "",
    families: null,
    parameter_size: "",
    quantization_level: "NF4",
  };
}
