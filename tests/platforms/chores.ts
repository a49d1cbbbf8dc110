/**
 * What a one-file program of another system has to do on it, whoever runs it there: say its version, look at the machine,
 * plan, train, measure, export, answer and serve, all with a tiny model. The losses must be those of every other system.
 */
import assert from "node:assert/strict";
import { rows } from "../helpers/ftl.ts";
import { makeTinyFolder } from "../helpers/tiny_folders.ts";

/** Runs the program in the folder that `lay` filled. */
export type Start = (args: string[]) => Deno.Command;

const url = "http://127.0.0.1:18555";

/** Puts a model and two rows into a folder. */
export function lay(folder: string): void {
  Deno.renameSync(makeTinyFolder("llama_tied", folder), `${folder}/model`);
  Deno.writeTextFileSync(`${folder}/rows.jsonl`, rows.split("\n").slice(0, 2).join("\n") + "\n");
}

export async function chores(start: Start): Promise<void> {
  const good = async (...args: string[]) => {
    console.log(`== ftl ${args.join(" ")}`);
    const { code, stdout, stderr } = await start(args).output();
    const said = new TextDecoder().decode(stdout);
    console.log(said);
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return said;
  };
  assert.match(await good("--version"), /^ftl \d/);
  assert.match(await good("doctor"), /answers: WebAssembly SIMD/);
  await good("plan", "model", "-d", "rows.jsonl");
  const steps = ["-s", "4", "-w", "1", "-l", "1e-2", "--questions", "1", "--engine", "onnx"];
  const trained = await good("train", "-m", "model", "-d", "rows.jsonl", ...steps);
  const [, before, after] = /trained rows\s+([\d.]+) -> ([\d.]+)/.exec(trained)!.map(Number);
  // 7.0382 -> 4.8797 on Linux x64; products of other instruction sets round otherwise.
  assert.ok(Math.abs(before - 7.0382) < 0.002 && Math.abs(after - 4.8797) < 0.05, `${before} -> ${after}`);
  await good("eval", "runs/model-1", "rows.jsonl", "--limit", "1", "--max-new-tokens", "4");
  await good("export", "runs/model-1", "--to", "q8_0");
  await good("run", "runs/model-1", "What is number 0?", "--max-new-tokens", "4");
  await serve(start(["serve", "runs/model-1", "--port", new URL(url).port]).spawn());
}

async function serve(child: Deno.ChildProcess): Promise<void> {
  console.log("== ftl serve");
  const errors = new Response(child.stderr).text(), reader = child.stdout.getReader(), decoder = new TextDecoder();
  for (let said = ""; !said.includes(url);) {
    const { done, value } = await reader.read();
    if (done) assert.fail(`serve ended: ${said}\n${await errors}`);
    said += decoder.decode(value, { stream: true });
  }
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "What is number 0?" }], max_tokens: 4 }),
  });
  const text = await response.text();
  console.log(text);
  assert.equal(response.status, 200, text);
  assert.equal(JSON.parse(text).usage.completion_tokens, 4, text);
  child.kill("SIGTERM");
  while (!(await reader.read()).done);
  await child.status;
}
