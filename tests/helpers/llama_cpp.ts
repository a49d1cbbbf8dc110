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
}

const folder = new URL("../llama_cpp/", import.meta.url);
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

async function install(): Promise<string | null> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    return `skipped: no llama.cpp binary is pinned for ${Deno.build.os} ${Deno.build.arch}`;
  }
  return await installNpmFolder(folder, "llama.cpp");
}
