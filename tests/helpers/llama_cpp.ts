/**
 * Real llama.cpp for tests: token ids, greedy continuations and logits of a GGUF file, with or without a LoRA GGUF.
 * It is npm node-llama-cpp with its CPU binary only (85 MB), kept out of the project's dependencies: the first call
 * installs tests/llama_cpp/package-lock.json into that folder, with npm run by Deno, so that Node is not needed.
 * Linux x64 only; `llamaCppMissing` says why it is not there. With CI set, a failed installation fails the test.
 */
import { fileURLToPath } from "node:url";
import { installNpmFolder, runDenoIn } from "./npm_folder.ts";

export interface LlamaCppRequest {
  /** Path of the model. */
  gguf: string;
  /** Loads the vocabulary alone, which may then be all that the file has. */
  vocabOnly?: boolean;
  /** Path of a LoRA GGUF, applied at scale 1. */
  lora?: string;
  /** Texts to tokenize, without BOS. */
  tokenize?: string[];
  /** Whether special tokens written out in the texts become their ids. */
  parseSpecial?: boolean;
  /** Token ids of which to ask whether llama.cpp ends a generation at them. */
  endTokens?: number[];
  /** Greedy continuations: exactly `count` ids each, end tokens included like any other. */
  greedy?: { tokens: number[]; count: number }[];
  /** Logits after the given positions (default: after the last token). */
  logits?: { tokens: number[]; positions?: number[] }[];
  /** Texts as token ids of which to give the mean of -log p(next token), in nats. */
  losses?: number[][];
  /** F32 key/value cache instead of F16. */
  exact?: boolean;
  contextSize?: number;
}

/** As evaluate.ts prints it; `logits` are f32 little-endian in base64. */
export interface LlamaCppAnswer {
  bos: number | null;
  eos: number | null;
  addsBos: boolean;
  endTokens: boolean[];
  tokenize: number[][];
  greedy: number[][];
  logits: string[][];
  losses: number[];
}

const folder = new URL("../llama_cpp/", import.meta.url);

/** Where the libraries of node-llama-cpp's CPU binary lie, and what llama.cpp's is called there. */
export const llamaCppLibraries = fileURLToPath(
  new URL("node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/", folder),
);
const libllama = "libllama.v0.5.0.so";

let installation: Promise<string | null> | undefined;
const runDeno = (args: string[], input: string) => runDenoIn(folder, args, input);

/** null when llama.cpp can be asked, else the reason to print beside a skipped test. */
export function llamaCppMissing(): Promise<string | null> {
  installation ??= install();
  return installation;
}

/** Asks llama.cpp; logits come back as [request][position] -> Float32Array of the vocabulary. */
export async function llamaCpp(
  request: LlamaCppRequest,
): Promise<Omit<LlamaCppAnswer, "logits"> & { logits: Float32Array[][] }> {
  const missing = await llamaCppMissing();
  if (missing) throw new Error(missing);
  const { code, stdout, stderr } = await runDeno(
    [
      "--node-modules-dir=manual",
      fileURLToPath(new URL("evaluate.ts", folder)),
    ],
    JSON.stringify(request),
  );
  if (code !== 0) {
    throw new Error(
      `llama.cpp failed with exit code ${code} on ${request.gguf}:\n${stderr.slice(-4000)}`,
    );
  }
  const answer: LlamaCppAnswer = JSON.parse(
    stdout.trimEnd().split("\n").at(-1)!,
  );
  const logits = answer.logits.map((positions) =>
    positions.map((text) => new Float32Array(Uint8Array.fromBase64(text).buffer))
  );
  return { ...answer, logits };
}

/** What llama.cpp itself makes of a GGUF file, as each of the kinds asked for (enum llama_ftype). */
export async function llamaCppQuantize(input: string, outputs: { path: string; fileType: number }[]): Promise<void> {
  const missing = await llamaCppMissing();
  if (missing) throw new Error(missing);
  const { code, stderr } = await runDeno([
    fileURLToPath(new URL("quantize.ts", folder)),
    ...[`${llamaCppLibraries}${libllama}`, input],
    ...outputs.flatMap(({ path, fileType }) => [path, `${fileType}`]),
  ], "");
  if (code !== 0) throw new Error(`llama.cpp could not quantise ${input}:\n${stderr.slice(-4000)}`);
}

async function install(): Promise<string | null> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    return `skipped: no llama.cpp binary is pinned for ${Deno.build.os} ${Deno.build.arch}`;
  }
  return await installNpmFolder(folder, "llama.cpp");
}
