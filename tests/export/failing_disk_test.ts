/** Exports over earlier ones on a disk that fails at any operation: what can be opened is one export, whole. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { exportMergedFolder } from "../../lib/export/merged_folder.ts";
import { type ModelSource, openModel } from "../../lib/model/source.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { onFailingDisk, refusalAt } from "../helpers/failing_disk.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { goldenAdapter, makeTinyFolder } from "../helpers/tiny_folders.ts";

const family = "llama_tied";

/** Writes an export into a folder; returns what one opens of it. */
type Export = (dir: string, source: ModelSource) => string;

/** An earlier export without adapter, and a later one of the same name with it. */
interface Kind {
  what: string;
  earlier: Export;
  later: Export;
}

const gguf = ({ tuned, maxBytes }: { tuned: boolean; maxBytes?: number }): Export => (dir, source) => {
  const adapter = tuned ? goldenAdapter(family) : null;
  return exportGguf(`${dir}/m.F16.gguf`, { source, adapter, dtype: "F16", maxBytes })[0];
};
const folder = ({ tuned }: { tuned: boolean }): Export => (dir, source) => {
  exportMergedFolder(`${dir}/merged`, { source, adapter: tuned ? goldenAdapter(family) : null, dtype: "F16" });
  return `${dir}/merged`;
};

const [small, large] = [50_000, 100_000];
const kinds: Kind[] = [
  { what: "one file", earlier: gguf({ tuned: false }), later: gguf({ tuned: true }) },
  {
    what: "as many parts",
    earlier: gguf({ tuned: false, maxBytes: large }),
    later: gguf({ tuned: true, maxBytes: large }),
  },
  {
    what: "fewer parts",
    earlier: gguf({ tuned: false, maxBytes: small }),
    later: gguf({ tuned: true, maxBytes: large }),
  },
  { what: "a folder", earlier: folder({ tuned: false }), later: folder({ tuned: true }) },
];

/** Every weight of the model, or "refused" where it cannot be opened. */
function weightsOf(path: string): string {
  let source: ModelSource;
  try {
    source = openModel(path);
  } catch (error) {
    assert.ok(error instanceof UserError, `${error}`);
    return "refused";
  }
  try {
    return source.tensors.map(({ name }) => source.float32(name).join()).join("\n");
  } finally {
    source.close();
  }
}

for (const { what, earlier, later } of kinds) {
  Deno.test(`an export over an earlier one (${what}) shows the old or the new one, whichever operation fails`, async () => {
    await inTempFolder(async (place) => {
      const source = openModel(makeTinyFolder(family, place)), newFolder = () => Deno.makeTempDirSync({ dir: place });
      const pristine = newFolder();
      const old = weightsOf(earlier(newFolder(), source)), fresh = weightsOf(later(pristine, source));
      assert.ok(new Set([old, fresh, "refused"]).size === 3);
      const { operations } = await onFailingDisk(place, refusalAt(0), () => later(newFolder(), source));
      assert.ok(operations > 10, `${operations} operations`);
      let seen = new Set<string>();
      // Writes are alike; the renames at the end are not.
      for (let at = 1; at <= operations; at += at < operations - 10 ? 19 : 1) {
        const dir = newFolder(), oldPath = earlier(dir, source);
        const refusal = refusalAt(at), about = JSON.stringify(refusal);
        const { error, result } = await onFailingDisk(dir, refusal, () => later(dir, source));
        const found = new Set([oldPath, result ?? oldPath].map(weightsOf));
        for (const weights of found) assert.ok([old, fresh, "refused"].includes(weights), `${about}: a mixture`);
        if (result !== undefined) assert.ok(found.has(fresh), about);
        else {
          assert.ok(error instanceof UserError && !error.message.includes("\n"), `${about}: ${error}`);
          assert.match(error.message, /^Cannot (write|remove|make the folder) .*: (the |permission denied)/, about);
        }
        seen = seen.union(found);
        assert.equal(weightsOf(later(dir, source)), fresh, `${about}: again`);
        assert.deepEqual(filesBelow(dir), filesBelow(pristine), `${about}: nothing is left of earlier ones`);
        Deno.removeSync(dir, { recursive: true });
      }
      assert.ok(seen.has(old));
      source.close();
    });
  });
}
