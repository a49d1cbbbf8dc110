/** Where the hub, its cache and the token are, by the variables of Hugging Face's own tools. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../lib/errors.ts";
import { hubSettings } from "../../lib/cli/hub_settings.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const from = (variables: Record<string, string>) => hubSettings((name) => variables[name]);

const caches: [Record<string, string>, string][] = [
  [{ HOME: "/h" }, "/h/.cache/huggingface/hub"],
  [{ USERPROFILE: "/u" }, "/u/.cache/huggingface/hub"],
  [{ HOME: "/h", XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ HOME: "/h", XDG_CACHE_HOME: "/x", HF_HOME: "/hf" }, "/hf/hub"],
  [{ HOME: "/h", HF_HOME: "~/hf" }, "/h/hf/hub"],
  [{ HOME: "/h", HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "/new" }, "/new"],
];
for (const [variables, expected] of caches) {
  Deno.test(`the cache with ${JSON.stringify(variables)}`, () => assert.equal(from(variables).cacheDir, expected));
}

Deno.test("the token: HF_TOKEN, then the older name, then the file that a login left", async () => {
  await inTempFolder((folder) => {
    Deno.writeTextFileSync(join(folder, "token"), "hf_file\n");
    Deno.writeTextFileSync(join(folder, "other"), " hf_other ");
    const base = { HF_HOME: folder };
    assert.deepEqual(from(base).token, { value: "hf_file", from: join(folder, "token") });
    assert.equal(from({ ...base, HF_TOKEN_PATH: join(folder, "other") }).token?.value, "hf_other");
    assert.equal(from({ ...base, HUGGING_FACE_HUB_TOKEN: "hf_older" }).token?.value, "hf_older");
    assert.deepEqual(from({ ...base, HF_TOKEN: " hf_env\n" }).token, { value: "hf_env", from: "HF_TOKEN" });
    assert.equal(from({ ...base, HF_TOKEN: "" }).token?.value, "hf_file");
    assert.equal(from({ HF_HOME: join(folder, "none") }).token, undefined);
    assert.throws(() => from({ HF_TOKEN: "hf_a\nb" }), UserError);
  });
});

Deno.test("the address, and whether it may be asked", () => {
  assert.equal(from({}).endpoint, "https://huggingface.co");
  assert.equal(from({ HF_ENDPOINT: "https://mirror.example/hf/" }).endpoint, "https://mirror.example/hf");
  for (const wrong of ["mirror.example", "ftp://mirror.example", "/x"]) {
    assert.throws(() => from({ HF_ENDPOINT: wrong }), (error) => error instanceof UserError && error.exitCode === 2);
  }
  assert.equal(from({}).offline, undefined);
  for (const on of ["1", "true", "YES", "on"]) assert.equal(from({ HF_HUB_OFFLINE: on }).offline, "HF_HUB_OFFLINE");
  assert.equal(from({ HF_HUB_OFFLINE: "0" }).offline, undefined);
  assert.equal(from({ TRANSFORMERS_OFFLINE: "1" }).offline, "TRANSFORMERS_OFFLINE");
});
