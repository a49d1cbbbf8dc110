/** Bytes over a connection that breaks, stalls, lies or is told to wait: what arrives, and how often it was sent. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { StoppedError } from "../../lib/cli/terminal.ts";
import { bytesThere } from "../../lib/hub/transfer.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { type HubPlace, inHubPlace, refusal } from "../helpers/hub_place.ts";
import type { Fault, FileRequest, HubRepo } from "../helpers/hub_server.ts";
import { randomBytes, randomFloats } from "../helpers/random.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const weights = randomBytes(2_000_003, 1);
const repo: HubRepo = { files: { "m.gguf": weights } };

/** Bytes that may be on the way when a connection breaks: the server's chunk and what buffers hold behind it. */
const onTheWay = 128_000;

const blobs = ({ cacheDir }: HubPlace) => filesBelow(join(cacheDir, "models--org--m", "blobs"));

async function check(place: HubPlace): Promise<void> {
  const { path } = await place.pull("org/m");
  assert.deepEqual(Deno.readFileSync(path), weights);
  assert.equal(blobs(place).length, 1, blobs(place).join());
}

for (const pieceBytes of [300_000, 64 << 20]) {
  Deno.test(`ten cuts at random points, in pieces of ${pieceBytes}: the same bytes, none twice`, async () => {
    await inHubPlace({ "org/m": repo }, async (place) => {
      let cuts = 0;
      const at = randomFloats(10, 7);
      place.hub.fault = ({ start, end }) =>
        cuts < 10 ? { cutAfter: Math.floor((at[cuts++] + 1) / 2 * 0.9 * (end - start)) } : undefined;
      const seen: number[] = [];
      await place.pull("org/m", {
        tuning: { pieceBytes },
        progress: ({ phase, bytes }) => phase === "download" && seen.push(bytes),
      });
      assert.equal(cuts, 10);
      assert.equal(seen.at(-1), weights.length);
      assert.ok(seen.every((bytes, i) => i === 0 || bytes > seen[i - 1]), "progress never goes back");
      assert.ok(place.hub.sent() <= weights.length + 10 * onTheWay, `${place.hub.sent()} bytes were sent`);
      await check(place);
    });
  });

  Deno.test(`the next process goes on where one gave up, in pieces of ${pieceBytes}`, async () => {
    await inHubPlace({ "org/m": repo }, async (place) => {
      const tuning = { pieceBytes, tries: 1, connections: 2 };
      for (const cutAfter of [0, 100_000, 200_000, 150_000]) {
        place.hub.fault = () => ({ cutAfter });
        const says = await refusal(place.pull("org/m", { tuning }));
        assert.match(says, /what came so far of org\/m is kept/);
      }
      assert.equal(blobs(place).length, 2, "the part and its note");
      place.hub.fault = undefined;
      // Another size of pieces in the meantime makes no difference.
      await place.pull("org/m", { tuning: { pieceBytes: 77_777 } });
      assert.match(place.notes.at(-1)!, /of which \d+\.\d [kM]B are there already/);
      assert.ok(place.hub.sent() <= weights.length + 8 * onTheWay, `${place.hub.sent()} bytes were sent`);
      await check(place);
    });
  });
}

for (
  const note of ["", "{", '{"size": 9, "piece": 9, "done": [9]}', '{"size": 2000003, "piece": 1e6, "done": [9, 9]}']
) {
  Deno.test(`a note that does not fit its bytes is not believed: ${note}`, async () => {
    await inHubPlace({ "org/m": repo }, async (place) => {
      place.hub.fault = () => ({ cutAfter: 60_000 });
      await refusal(place.pull("org/m", { tuning: { tries: 1 } }));
      place.hub.fault = undefined;
      const folder = join(place.cacheDir, "models--org--m", "blobs"), [part, noted] = blobs(place);
      Deno.writeTextFileSync(join(folder, noted), note);
      Deno.truncateSync(join(folder, part), 50_000);
      await place.pull("org/m");
      await check(place);
    });
  });
}

Deno.test("a wrong checksum throws the bytes away and names both; the next time they may be right", async () => {
  await inHubPlace({ "org/m": repo }, async (place) => {
    place.hub.fault = ({ start }) => start === 0 ? { change: true } : undefined;
    assert.match(
      await refusal(place.pull("org/m")),
      /^Wrong checksum of m\.gguf of org\/m: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64} \|/,
    );
    assert.deepEqual(blobs(place), []);
    place.hub.fault = undefined;
    await place.pull("org/m");
    await check(place);
  });
});

Deno.test("a listing's size costs nothing, however large it is", async () => {
  await inTempFolder((folder) => {
    for (const size of [0, 1, 5e12, Number.MAX_SAFE_INTEGER]) {
      assert.equal(bytesThere({ path: "m.gguf", size, digest: "0".repeat(64) }, folder), 0);
    }
  });
});

const small: HubRepo = { files: { "config.json": "{}", "tokenizer.json": "{ }", "model.safetensors": "x" } };

Deno.test("small files are checked too, by git's ids", async () => {
  await inHubPlace({ "org/m": small }, async (place) => {
    place.hub.fault = ({ path }) => path === "config.json" ? { change: true } : undefined;
    assert.match(
      await refusal(place.pull("org/m")),
      /^Wrong checksum of config\.json of org\/m: expected git id [0-9a-f]{40}/,
    );
  });
});

Deno.test("an empty file", async () => {
  await inHubPlace({ "org/m": { files: { ...small.files, "generation_config.json": "" } } }, async ({ pull }) => {
    const { path } = await pull("org/m");
    assert.equal(Deno.statSync(join(path, "generation_config.json")).size, 0);
  });
});

/** Passes by itself: each for the first three requests. */
const passing: [string, (request: FileRequest) => Fault][] = [
  ["500", () => ({ status: 500 })],
  ["503", () => ({ status: 503 })],
  ["429 with Retry-After", () => ({ status: 429, headers: { "retry-after": "0" } })],
  ["429 with the hub's own header", () => ({ status: 429, headers: { ratelimit: '"resolvers";r=0;t=0' } })],
  ["a store's link that has expired", () => ({ status: 403 })],
  ["silence before the first byte", () => ({ stallAfter: 0 })],
  ["silence in the middle", () => ({ stallAfter: 50_000 })],
];
for (const [what, fault] of passing) {
  Deno.test(`asked again after ${what}`, async () => {
    await inHubPlace({ "org/m": repo }, async (place) => {
      place.hub.fault = (request) => request.earlier < 3 ? fault(request) : undefined;
      await place.pull("org/m", { tuning: { stallMs: 150 } });
      await check(place);
    });
  });
}

Deno.test("Retry-After is waited for", async () => {
  await inHubPlace({ "org/m": repo }, async (place) => {
    place.hub.fault = ({ earlier }) => earlier === 0 ? { status: 429, headers: { "retry-after": "1" } } : undefined;
    const began = performance.now();
    await place.pull("org/m", { tuning: { connections: 1 } });
    assert.ok(performance.now() - began >= 1000, `${performance.now() - began} ms`);
  });
});

/** Does not pass. */
const lasting: [string, Fault, RegExp][] = [
  [
    "429",
    { status: 429 },
    /takes no more requests from here for now; what came so far of org\/m is kept \| .*HF_TOKEN/,
  ],
  ["500", { status: 500 }, /answers 500; what came so far/],
  ["416", { status: 416 }, /refuses org\/m: 416/],
  [
    "whole files where parts are asked for",
    { ignoreRange: true },
    /does not give parts of m\.gguf .*\| A proxy or mirror/,
  ],
];
for (const [what, fault, says] of lasting) {
  Deno.test(`given up after ${what}`, async () => {
    await inHubPlace({ "org/m": repo }, async (place) => {
      place.hub.fault = () => fault;
      assert.match(await refusal(place.pull("org/m", { tuning: { tries: 3 } })), says);
      assert.deepEqual(blobs(place), []);
      place.hub.fault = undefined;
      await place.pull("org/m");
      await check(place);
    });
  });
}

Deno.test("stopped in the middle: the parts stay, and the next time goes on", async () => {
  await inHubPlace({ "org/m": repo }, async (place) => {
    const stop = new AbortController();
    place.hub.fault = () => ({ stallAfter: 60_000 });
    const progress = ({ bytes }: { bytes: number }) => bytes > 300_000 && stop.abort(new StoppedError("stopped"));
    await assert.rejects(place.pull("org/m", { signal: stop.signal, progress }), StoppedError);
    assert.equal(blobs(place).length, 2);
    place.hub.fault = undefined;
    const before = place.hub.sent();
    await place.pull("org/m");
    assert.ok(place.hub.sent() - before < weights.length - 250_000, `${place.hub.sent() - before} bytes`);
    await check(place);
  });
});

Deno.test("stopped while it waits to ask again", async () => {
  await inHubPlace({ "org/m": repo }, async (place) => {
    const stop = new AbortController();
    place.hub.fault = () => ({ status: 429, headers: { "retry-after": "60" } });
    setTimeout(() => stop.abort(new StoppedError("stopped")), 200);
    await assert.rejects(place.pull("org/m", { signal: stop.signal }), StoppedError);
  });
});
