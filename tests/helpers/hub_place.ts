/** A cache of its own and a hub of this machine to fill it from, for tests of what is fetched and what is said. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { type PullModelOptions, pullRepo } from "../../lib/hub/pull_repo.ts";
import { parseRepoName } from "../../lib/hub/repo_name.ts";
import { type HubRepo, type HubServer, withHub } from "./hub_server.ts";
import { inTempFolder } from "./temp_folder.ts";

export interface HubPlace {
  hub: HubServer;
  cacheDir: string;
  notes: string[];
  pull(
    name: string,
    options?: Partial<PullModelOptions> & { token?: string },
  ): Promise<{ path: string; fetched: boolean }>;
}

/** A hub with `repos` and an empty cache. */
export async function inHubPlace(
  repos: Record<string, HubRepo>,
  test: (place: HubPlace) => Promise<void>,
): Promise<void> {
  await inTempFolder((cacheDir) =>
    withHub(repos, async (hub) => {
      const notes: string[] = [];
      await test({
        hub,
        cacheDir,
        notes,
        pull: (name, { token, tuning, ...options } = {}) =>
          pullRepo(parseRepoName(name)!, {
            hub: { endpoint: hub.endpoint, cacheDir, token: token ? { value: token, from: "HF_TOKEN" } : undefined },
            note: (text) => notes.push(text),
            tuning: { retryMs: 1, pieceBytes: 100_000, ...tuning },
            ...options,
          }),
      });
    })
  );
}

/** The UserError that a promise ends with, as "message | hint". */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => assert.fail("nothing was thrown"), (error) => error);
  assert.ok(error instanceof UserError, String(error.stack));
  return `${error.message} | ${error.hint}`;
}
