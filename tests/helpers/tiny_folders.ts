/** The tiny golden models as complete folders: with a tokenizer, which the golden ones lack, in a temporary place. */
import type { ExportAdapter } from "../../lib/export/merge.ts";
import { f32ToF16 } from "../../lib/formats/float16.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import { modelTensors } from "../../lib/model/names.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { goldenFolder, readExpected } from "./golden_models.ts";
import { randomFloats } from "./random.ts";
import { type StoredTensor, writeTensors } from "./tiny_model.ts";
import { chatMl, tiny, tinyBpeMetadata, tinySpmMetadata } from "./tokenizers.ts";

/** Rows of every tiny model's embedding. */
export const tinyVocabulary = 512;

/** What each family's tokenizer is like: SentencePiece, or byte-level with a cutting rule. */
const preTokenizers: Record<string, string | null> = {
  llama3: "llama-bpe",
  llama_tied: "smollm",
  qwen2: "qwen2",
  qwen3: "qwen2",
  mistral: null,
  gemma3: null,
};

/** A copy of a golden model with tokenizer.json and tokenizer_config.json. */
export function makeTinyFolder(name: string, parent: string): string {
  const folder = `${parent}/${name}`;
  Deno.mkdirSync(folder);
  Deno.copyFileSync(`${goldenFolder}${name}/model.safetensors`, `${folder}/model.safetensors`);
  const config = JSON.parse(Deno.readTextFileSync(`${goldenFolder}${name}/config.json`));
  const ids = { bos_token_id: 1, eos_token_id: 2 };
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify({ ...config, ...ids }));
  const pre = preTokenizers[name];
  const metadata = pre === null ? smallSpm(name) : tinyBpeMetadata({ pre });
  const { whole, tokens } = rebuildTokenizer(metadata, name), json = whole();
  Deno.writeTextFileSync(`${folder}/tokenizer.json`, JSON.stringify(json));
  Deno.writeTextFileSync(
    `${folder}/tokenizer_config.json`,
    JSON.stringify({
      bos_token: tokens[1],
      eos_token: tokens[2],
      add_bos_token: name !== "qwen2",
      chat_template: chatMl,
    }),
  );
  return folder;
}

/**
 * A model of a golden one's family with random F16 weights and other sizes, such as `hidden_size` or
 * `num_hidden_layers`: for what depends on the lengths of rows and the number of layers.
 */
export function makeSizedFolder(
  family: string,
  { parent, name, sizes }: { parent: string; name: string; sizes: Record<string, number | boolean> },
): string {
  const made = makeTinyFolder(family, parent), folder = `${parent}/${name}`;
  Deno.renameSync(made, folder);
  const json = { ...JSON.parse(Deno.readTextFileSync(`${folder}/config.json`)), ...sizes };
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(json));
  const config = configFromHf(json, { source: folder, name });
  const tensors = modelTensors(config).map(({ name, shape, role }, i) => {
    // Norms near 1 (Gemma's are stored minus one), the rest so that activations keep their size.
    const scale = role === "norm" ? 0.1 : 2 * (shape[1] ?? 1) ** -0.5,
      shift = role === "norm" && family !== "gemma3" ? 1 : 0;
    const values = randomFloats(elementCount(shape), i).map((x) => x * scale + shift);
    return [name, { dtype: "F16", shape, bytes: new Uint8Array(f32ToF16(values).buffer) }] as [string, StoredTensor];
  });
  writeTensors(`${folder}/model.safetensors`, tensors);
  return folder;
}

/**
 * The SentencePiece vocabulary cut to the tiny models' size: marks, bytes, Latin characters and the best longer pieces
 * made of these. Gemma's puts no space in front of a text.
 */
function smallSpm(name: string): Map<string, unknown> {
  const { tokens, types, scores } = tiny.spm;
  const ids = tokens.map((_, id) => id), isLatin = (id: number) => [...tokens[id]].every(isLatinCharacter);
  const marks = ids.filter((id) => types[id] !== 1), pieces = ids.filter((id) => types[id] === 1 && isLatin(id));
  const [characters, longer] = [1, 2].map((n) => pieces.filter((id) => Math.min([...tokens[id]].length, 2) === n));
  const kept = [...marks, ...characters, ...longer].slice(0, tinyVocabulary);
  const pick = <T>(list: T[]) => kept.map((id) => list[id]);
  return tinySpmMetadata({
    tokens: pick(tokens),
    token_type: pick(types),
    scores: pick(scores),
    add_space_prefix: name !== "gemma3",
  });
}

function isLatinCharacter(character: string): boolean {
  return character < "\u0250" || character === "▁";
}

/** The LoRA that the golden losses were computed with. */
export function goldenAdapter(name: string): ExportAdapter {
  const parameters = [...readExpected(name)].filter(([key]) => key.startsWith("lora/")).map((
    [key, { data, shape }],
  ) => ({
    name: `base_model.model.model.${key.slice("lora/".length, -2)}.lora_${key.at(-1)}.weight`,
    shape,
    value: data,
  }));
  return { settings: { r: 4, lora_alpha: 8, use_rslora: false }, parameters };
}
