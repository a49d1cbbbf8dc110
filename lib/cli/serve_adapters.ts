/**
 * Adapters that clients of `ftl serve` add and remove while it runs, from inside one folder that its owner has named.
 * What a client says is looked up below that folder; whatever leads out of it, links too, is not there for it.
 */
import { join, resolve, sep } from "node:path";
import { UserError } from "../errors.ts";
import { kindOfPath } from "../model/model_files.ts";
import type { AdapterDoor } from "../serve/adapter_routes.ts";
import type { Engine } from "../serve/engine.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { lookUp, type Named } from "./saved_run.ts";
import type { ServePlan } from "./serve_plan.ts";

/** The folder's real path. Errors: UserError. */
export function adapterFolder(path: string): string {
  if (kindOfPath(path) === "folder") return Deno.realPathSync(path);
  throw new UserError(`--allow-adapters ${path} is no folder`, {
    hint: "name the folder that adapters may come from, such as runs",
    exitCode: 2,
  });
}

/** `plan` is kept up to date: it says how each adapter is asked. */
export function adapterDoor(plan: ServePlan, { engine, root }: { engine: Engine; root: string }): AdapterDoor {
  return {
    async add(id, path) {
      const { adapter, style } = find(path, { root, model: plan.model });
      try {
        await engine.addAdapter({ id, folder: adapter!, aliases: [] });
      } catch (error) {
        throw withoutRoot(error, root);
      }
      warnOfOtherBase(adapter!, { model: plan.model, name: plan.base.id });
      plan.adapters.push({ id, folder: adapter!, aliases: [], style });
    },
    async remove(id) {
      const gone = engine.removeAdapter(id);
      const at = plan.adapters.findIndex((adapter) => adapter.id === id);
      if (at >= 0) plan.adapters.splice(at, 1);
      await gone;
    },
  };
}

/** An adapter or a run below the root, by a path from there or a whole one. */
function find(path: string, { root, model }: { root: string; model: string }): Named {
  const missing = () =>
    new UserError(`There is no adapter at ${JSON.stringify(path.slice(0, 200))} in the folder that adapters come from`);
  const inside = (place: string) => {
    const real = realPath(place);
    return real !== undefined && (real === root || real.startsWith(root + sep));
  };
  const place = resolve(root, path);
  if (!inside(place)) throw missing();
  let named: Named;
  try {
    named = lookUp(place, { base: model });
  } catch (error) {
    throw withoutRoot(error, root);
  }
  const files = ["adapter_config.json", "adapter_model.safetensors"];
  if (named.adapter === null || !files.every((name) => inside(join(named.adapter!, name)))) throw missing();
  return named;
}

function realPath(path: string): string | undefined {
  try {
    return Deno.realPathSync(path);
  } catch {
    return undefined;
  }
}

/** An error in words that do not tell a client where the folder lies. */
function withoutRoot(error: unknown, root: string): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(error.message.replaceAll(root + sep, ""), { hint: error.hint, cause: error });
}
