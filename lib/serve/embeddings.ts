/** POST /v1/embeddings: texts as vectors of length 1, as numbers or as base64 of f32, which OpenAI's client asks for. */
import { ApiError } from "./api_error.ts";
import { readBody } from "./body.ts";
import { tokensOf } from "./completions.ts";
import { embeddingRequest } from "./schema.ts";
import { findModel, type Service } from "./service.ts";
import { leaving } from "./sse.ts";

export async function embeddings(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, embeddingRequest, service);
  const model = findModel(service, body.model);
  const prompts = await tokensOf(service, body.input, "input");
  const leave = leaving(request, service.stopping);
  try {
    const vectors = await service.engine.embed(model.id, prompts, leave.signal);
    const size = vectors[0]?.length ?? 0;
    if (typeof body.dimensions === "number" && body.dimensions !== size) {
      throw new ApiError(400, `dimensions: this model's embeddings have ${size}`, { param: "dimensions" });
    }
    const tokens = prompts.reduce((sum, ids) => sum + ids.length, 0);
    return Response.json({
      object: "list",
      model: model.id,
      data: vectors.map((vector, index) => ({
        object: "embedding",
        index,
        embedding: body.encoding_format === "base64" ? base64(vector) : Array.from(vector),
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    });
  } finally {
    leave.abort();
  }
}

/** f32, the lowest byte first, on every machine. */
function base64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  vector.forEach((value, i) => bytes.setFloat32(i * 4, value, true));
  return new Uint8Array(bytes.buffer).toBase64();
}
