/** A tiny model under load for some seconds; `tests/bench/serve_load.ts` does the same to a real one for minutes. */
import assert from "node:assert/strict";
import { runLoad } from "../helpers/load.ts";
import { startServe } from "../helpers/served.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { makeTinyFolder } from "../helpers/tiny_folders.ts";

Deno.test("16 clients, some leaving, some sending nonsense: every answer is complete and every slot is free again", () =>
  inTempFolder(async (dir) => {
    const model = makeTinyFolder("llama_tied", dir);
    const server = await startServe(
      [model, "--port", "0", "--engine", "onnx", "--parallel", "4", "--max-queue", "4", "--threads", "1"],
      { env: { FTL_CACHE: `${dir}/cache` } },
    );
    try {
      const { problems, counts, left, tokens } = await runLoad({
        url: server.url,
        clients: 16,
        seconds: 20,
        every: 10,
      });
      assert.deepEqual(problems, []);
      assert.deepEqual([left.running, left.waiting], [0, 0]);
      assert.ok(tokens > 0);
      for (const what of ["left", "429", "/v1/chat/completions", "/v1/chat/completions, stream"]) {
        assert.ok((counts.get(what) ?? 0) > 0, `${what} never happened: ${[...counts]}`);
      }
      assert.equal((await fetch(`${server.url}/health`).then((response) => response.json())).status, "ok");
    } finally {
      const { code, stderr } = await server.stop();
      assert.deepEqual([code, stderr], [0, ""]);
    }
  }));
