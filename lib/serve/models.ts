/** GET /v1/models and /v1/models/:id: an adapter is a model of its own, with its base as parent. */
import type { ServedModel } from "./engine.ts";
import { lookUpModel, modelNotFound, type Service } from "./service.ts";

export function listModels({ engine }: Service): Response {
  return Response.json({ object: "list", data: engine.models().map((model) => describe(model, engine.contextLength)) });
}

export function oneModel({ engine }: Service, id: string): Response {
  const models = engine.models();
  const found = lookUpModel(models, id);
  if (!found) throw modelNotFound(models, id);
  return Response.json(describe(found, engine.contextLength));
}

function describe({ id, aliases, parent, created }: ServedModel, contextLength: number) {
  return {
    id,
    object: "model",
    created,
    owned_by: "ftl",
    root: parent ?? id,
    parent: parent ?? null,
    aliases,
    max_model_len: contextLength,
  };
}
