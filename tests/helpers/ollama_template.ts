/**
 * Ollama's rendering of a prompt template, by Go's own text/template: runs tests/export/ollama_go/main.go.
 * `goMissing` says why it cannot run; the tests then are skipped with that reason.
 */
import { fileURLToPath } from "node:url";

export interface OllamaCase {
  template: string;
  /** Calls under Ollama's name for them, as its API takes them. */
  messages: { role: string; content: string; toolCalls?: unknown[] }[];
  /** In OpenAI's form, keys in the order in which Ollama writes them. */
  tools?: unknown[];
}

const program = fileURLToPath(new URL("../export/ollama_go/main.go", import.meta.url));

/** The Go compiler, or null: on PATH, or where its own installer puts it. */
function goCompiler(): string | null {
  for (const candidate of ["go", "/usr/local/go/bin/go"]) {
    try {
      if (new Deno.Command(candidate, { args: ["version"], stdout: "null", stderr: "null" }).outputSync().success) {
        return candidate;
      }
    } catch {
      continue;
    }
  }
  return null;
}

const go = goCompiler();

/** null when templates can be rendered, else the reason to print. */
export const goMissing: string | null = go ? null : "skipped: no Go compiler to render Ollama's templates with";

/** The prompts, one per case. */
export async function ollamaPrompts(cases: OllamaCase[]): Promise<string[]> {
  if (!go) throw new Error(goMissing!);
  const process = new Deno.Command(go, {
    args: ["run", program],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: { GOTOOLCHAIN: "local", GOFLAGS: "-mod=mod", GO111MODULE: "off" },
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(cases)));
  await writer.close();
  const { code, stdout, stderr } = await process.output();
  if (code !== 0) throw new Error(`go run failed with exit code ${code}:\n${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}
