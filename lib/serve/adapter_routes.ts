/**
 * POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them: adapters come and go while others answer.
 * Where they may come from, and whether at all, is the server's owner's to say.
 */
import { z } from "zod";
import { ApiError } from "./api_error.ts";
import { readBody } from "./body.ts";
import { lookUpModel, modelNotFound, type Service } from "./service.ts";

/** What the owner of the server allows. */
export interface AdapterDoor {
  /** Adds the adapter at `path`, which is the client's word, under a name. Errors: UserError. */
  add(id: string, path: string): Promise<void>;
  /** Takes it away, once the requests that it is answering have ended. Errors: UserError. */
  remove(id: string): Promise<void>;
}

/** A name goes into lists and answers, never into a path; these letters are those of models elsewhere. */
const name = z.string().regex(/^[\w.:@/+-]{1,128}$/, "expected 1 to 128 letters, digits or any of . : @ / + - _");
const loading = z.object({ lora_name: name, lora_path: z.string().min(1).max(4096) });
const unloading = z.object({ lora_name: name });

export async function loadAdapter(service: Service, request: Request): Promise<Response> {
  const door = doorOf(service);
  const { lora_name: id, lora_path: path } = await readBody(request, loading, service);
  await door.add(id, path);
  service.removed.delete(id);
  return new Response(`Success: LoRA adapter '${id}' added successfully.`);
}

export async function unloadAdapter(service: Service, request: Request): Promise<Response> {
  const door = doorOf(service), models = service.engine.models();
  const { lora_name: id } = await readBody(request, unloading, service);
  const found = lookUpModel(models, id);
  if (!found) throw modelNotFound(models, id, "lora_name");
  const gone = door.remove(found.id);
  for (const each of [found.id, ...found.aliases]) service.removed.add(each);
  await gone;
  return new Response(`Success: LoRA adapter '${id}' removed successfully.`);
}

function doorOf({ adapters }: Service): AdapterDoor {
  if (adapters) return adapters;
  throw new ApiError(403, "Adapters cannot come and go here: the server was started without --allow-adapters", {
    type: "permission_error",
    code: "adapters_not_allowed",
  });
}
