/** `ftl data org/name` end to end: data sets of a hub by name, and what is said where there is none to be had. */
import assert from "node:assert/strict";
import { goodToken, type HubRepo, withHub } from "../helpers/hub_server.ts";
import { inWorkplace, type Workplace } from "../helpers/ftl.ts";

const rows = (words: string[]) =>
  words.map((word) => JSON.stringify({ instruction: `What is ${word}?`, output: `A ${word}.` })).join("\n");

const repos: Record<string, HubRepo> = {
  "org/rows": {
    kind: "dataset",
    files: {
      "README.md": "# rows",
      "en/train.jsonl": rows(["cup", "jar", "mug"]),
      "en/test.jsonl": rows(["pot", "pan"]),
      "id/train.jsonl": rows(["cangkir"]),
    },
  },
  "org/plain": { kind: "dataset", files: { "train.jsonl": rows(["bed"]), "test.jsonl": rows(["cot", "crib"]) } },
  "org/closed": { kind: "dataset", gated: true, files: { "train.jsonl": rows(["key", "lock"]) } },
  "org/model": { files: { "config.json": "{}" } },
};

interface Place extends Pick<Workplace, "folder" | "write"> {
  /** Rows read, or what is said and the exit code. */
  data(name: string, env?: Record<string, string>): Promise<number | string>;
  log: string[];
}

async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  await withHub(repos, ({ endpoint, log }) =>
    inWorkplace(async ({ ftl, folder, write }) => {
      const hub = {
        HF_ENDPOINT: endpoint,
        HF_HUB_CACHE: `${folder}/hub`,
        HF_TOKEN: "",
        HUGGING_FACE_HUB_TOKEN: "",
        HF_TOKEN_PATH: `${folder}/token`,
        HF_HUB_OFFLINE: "",
      };
      await body({
        folder,
        write,
        log,
        async data(name, env) {
          const ran = await ftl(["data", name, "-m", "model", "--json"], { ...hub, ...env });
          if (ran.code === 0) return JSON.parse(ran.stdout).rows.read;
          assert.equal(ran.stdout, "");
          return `${ran.stderr.trim()} (${ran.code})`;
        },
      });
    }));
}

Deno.test("ftl data org/name reads the train rows of a hub's data set, and offline those in the cache", async () => {
  await inPlace(async ({ data, log }) => {
    assert.equal(await data("org/plain"), 1);
    const asked = log.length;
    assert.equal(await data("org/plain", { HF_HUB_OFFLINE: "1" }), 1);
    assert.equal(log.length, asked, "nothing is asked a second time, or offline");
    const offline = await data("org/plain:test", { HF_HUB_OFFLINE: "1" });
    assert.match(`${offline}`, /^ftl: org\/plain .*HF_HUB_OFFLINE.*\n.* \(1\)$/);
    assert.equal(await data("org/plain:test"), 2);
    assert.equal(await data("org/rows:en/test"), 2);
    assert.equal(await data("datasets/org/rows:id/"), 1);
  });
});

Deno.test("ftl data says in one line why a data set of the hub is not to be had", async () => {
  await inPlace(async ({ data, write, log, folder }) => {
    assert.match(
      `${await data("org/none")}`,
      /^ftl: 127\.0\.0\.1:\d+ has no dataset org\/none: .*\n {2}try: Check http:\/\/\S+\/datasets\/org\/none \(1\)$/,
    );
    assert.match(`${await data("org/model")}`, /has no dataset org\/model: /);
    assert.match(
      `${await data("org/rows")}`,
      /^ftl: org\/rows has 2 configurations, .*\n {2}try: Choose one of: en, id; as org\/rows:en\/ \(1\)$/,
    );
    assert.match(`${await data("org/plain:trian")}`, /^ftl: org\/plain has no split trian, did you mean train\?\n/);
    assert.match(
      `${await data("org/closed")}`,
      /\nftl: org\/closed is gated: .*\n {2}try: Accept it at \S+, make a token at \S+, and set HF_TOKEN to it \(1\)$/,
    );
    assert.equal(await data("org/closed", { HF_TOKEN: goodToken }), 2);
    assert.match(
      `${await data("org/none", { HF_HUB_OFFLINE: "1" })}`,
      /^ftl: org\/none is not in \S+, and HF_HUB_OFFLINE forbids to fetch it\n.* \(1\)$/,
    );
    // A path that is mistyped is no one else's business.
    Deno.mkdirSync(`${folder}/org`);
    write("org/rows.jsonl", rows(["tub"]));
    const asked = log.length;
    assert.match(`${await data("org/row")}`, /^ftl: Cannot read org\/row: no such file or directory\n/);
    assert.equal(log.length, asked);
  });
});
