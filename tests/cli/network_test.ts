/**
 * A dependency that tries to reach the network is refused by every command but those whose work that is: commander, which
 * all of them load, is replaced by one that tries every way there is as soon as it is loaded.
 */
import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { addressIn } from "../../lib/cli/network.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const main = new URL("../../main.ts", import.meta.url).pathname;

/** Every way to the network that Deno offers, tried at a server of the test's. */
const curious = `
export * from "npm:commander@${manifest.imports.commander.split("@").at(-1)}";
import http from "node:http";
import net from "node:net";
import { lookup } from "node:dns/promises";
const port = Number(Deno.env.get("TEST_PORT")), url = "http://127.0.0.1:" + port + "/module.js";
const event = (target, good) => new Promise((resolve, reject) => {
  target.on ? target.on("error", reject) : target.onerror = (event) => (event.preventDefault(), reject(event));
  target.on ? target.on(good, resolve) : target["on" + good] = resolve;
});
const inWorker = "fetch('" + url + "').then(() => postMessage(1), () => setTimeout(() => { throw 1 }))";
const ways = {
  fetch: async () => await (await fetch(url)).text(),
  connect: async () => (await Deno.connect({ hostname: "127.0.0.1", port })).close(),
  listen: () => Deno.listen({ hostname: "127.0.0.1", port: 0 }).close(),
  http: async () => (await event(http.get(url), "response")).destroy(),
  net: async () => { const socket = net.connect(port, "127.0.0.1"); await event(socket, "connect"); socket.destroy(); },
  lookup: () => lookup("localhost"),
  websocket: async () => { const socket = new WebSocket(url.replace("http", "ws")); await event(socket, "open"); socket.close(); },
  import: () => import(url),
  worker: async () => {
    const worker = new Worker("data:application/javascript," + encodeURIComponent(inWorker), { type: "module" });
    await event(worker, "message").finally(() => worker.terminate());
  },
};
const said = {};
for (const [name, way] of Object.entries(ways)) {
  try { await way(); said[name] = "reached"; } catch { said[name] = "refused"; }
}
Deno.writeTextFileSync(Deno.env.get("TEST_SAID"), JSON.stringify(said));
`;

/** The project's table of imports with commander replaced. */
function importMap(commander: string): string {
  const imports: Record<string, string> = { ...manifest.imports, commander };
  for (const [name, target] of Object.entries(manifest.imports)) {
    if (/^npm:@?[^@]+@[^/]+$/.test(target)) imports[`${name}/`] = `${target.replace("npm:", "npm:/")}/`;
  }
  return JSON.stringify({ imports });
}

Deno.test("a dependency that tries to reach the network is refused", async (t) => {
  let asked = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    asked++;
    if (request.headers.get("upgrade")) return Deno.upgradeWebSocket(request).response;
    return new Response("export {}", { headers: { "content-type": "text/javascript" } });
  });
  await inTempFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/commander.js`, curious);
    Deno.writeTextFileSync(`${folder}/imports.json`, importMap(`file://${folder}/commander.js`));
    const said = async (args: string[]): Promise<Record<string, string>> => {
      const { stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", "--quiet", `--import-map=${folder}/imports.json`, main, ...args],
        cwd: folder,
        env: { TEST_PORT: String(server.addr.port), TEST_SAID: `${folder}/said`, FTL_CACHE: `${folder}/cache` },
        stdin: "null",
      }).output();
      try {
        return JSON.parse(Deno.readTextFileSync(`${folder}/said`));
      } catch {
        assert.fail(new TextDecoder().decode(stderr));
      } finally {
        Deno.removeSync(`${folder}/said`);
      }
    };
    const without = "train data plan run export eval models experiment report doctor licenses serve".split(" ");
    for (const args of [...without.map((name) => [name, "--help"]), ["serve", "nothing", "--port", "0"]]) {
      await t.step(args.join(" "), async () => {
        const wrong = Object.entries(await said(args)).filter(([, how]) => how !== "refused");
        assert.deepEqual(wrong, []);
        assert.equal(asked, 0);
      });
    }
    // The same tries get through where they may: otherwise the steps above would prove nothing.
    for (const args of [["pull", "--help"], ["compare", "--help"], ["eval", "--judge", "x:y", "--help"]]) {
      await t.step(args.join(" "), async () => {
        const wrong = Object.entries(await said(args)).filter(([, how]) => how !== "reached");
        assert.deepEqual(wrong, []);
        assert.ok(asked > 0);
      });
    }
  }).finally(() => server.shutdown());
});

Deno.test("addressIn() reads the address of ftl serve as its command line does", () => {
  const cases: [string, ReturnType<typeof addressIn>][] = [
    ["", { host: "127.0.0.1", port: 8080 }],
    ["m --port 0", { host: "127.0.0.1", port: 0 }],
    ["--port=81 m --host 0.0.0.0", { host: "0.0.0.0", port: 81 }],
    ["--port 1 --port 2", { host: "127.0.0.1", port: 2 }],
    ["--port 70000", undefined],
    ["--port x", undefined],
    ["--port", { host: "127.0.0.1", port: 8080 }],
    ["--help", undefined],
  ];
  for (const [line, expected] of cases) {
    assert.deepEqual(addressIn(line === "" ? [] : line.split(" ")), expected, line);
  }
});
