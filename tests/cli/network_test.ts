/** Once a model is there, nothing of the program reaches the network, whatever code tries. */
import assert from "node:assert/strict";
import { inWorkplace } from "../helpers/ftl.ts";

Deno.test("openNamedModel() leaves a process that cannot reach the network", async () => {
  let asked = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    asked++;
    return new Response("hello");
  });
  const url = `http://127.0.0.1:${server.addr.port}/`;
  const load = new URL("../../lib/cli/load.ts", import.meta.url).href;
  const script = `
    import { openNamedModel } from "${load}";
    await (await fetch("${url}")).text();
    (await openNamedModel("model")).source.close();
    const tries = [() => fetch("${url}"), () => Deno.connect({ hostname: "127.0.0.1", port: ${server.addr.port} })];
    for (const attempt of tries) console.log(await attempt().then(() => "reached", (error) => error.name));
  `;
  try {
    await inWorkplace(async ({ folder, write }) => {
      write("script.ts", script);
      const config = new URL("../../deno.json", import.meta.url).pathname;
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", "--quiet", `--config=${config}`, "script.ts"],
        cwd: folder,
      }).output();
      const text = new TextDecoder().decode(stdout);
      assert.deepEqual(text.trim().split("\n"), ["NotCapable", "NotCapable"], new TextDecoder().decode(stderr));
      assert.equal(asked, 1, "before the model was opened");
    });
  } finally {
    await server.shutdown();
  }
});
