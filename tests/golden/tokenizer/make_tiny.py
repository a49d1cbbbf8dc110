"""Writes tiny.json: two small vocabularies and the token ids that other programs give the texts of strings.json with them.

usage: make_tiny.py strings.json WORK_DIR tiny.json     (pip: tokenizers 0.22.1, sentencepiece 0.2; npm: node-llama-cpp 3.22.1
installed in WORK_DIR)
- bpe: 500 byte-level BPE tokens trained by `tokenizers` on the texts themselves; `ids.NAME` are llama.cpp's ids with
  tokenizer.ggml.pre = NAME, `rust.NAME` those of `tokenizers` with the regular expression of the original tokenizer.json,
  where that differs from llama.cpp's on purpose (tekken: letter case beyond ASCII; qwen2: NFC).
- spm: 900 SentencePiece BPE pieces with byte fallback; `ids.prefix`, `ids.no_prefix` are llama.cpp's, with and without
  add_space_prefix.
Only the texts written by hand are used."""
import io, json, os, struct, subprocess, sys
import sentencepiece as spm
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

strings, work, out = sys.argv[1:4]
texts = [c["text"] for c in json.load(open(strings))][:86]
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


trained = Tokenizer(models.BPE())
trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trained.train_from_iterator(texts * 3, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
model = json.loads(trained.to_str())["model"]
tokens = [None] * len(model["vocab"])
for t, i in model["vocab"].items(): tokens[i] = t
merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
types = [3 if t in special else 1 for t in tokens]
tokens.append("<tool>"); types.append(4)  # user-defined: split off, but text

buffer = io.BytesIO()
spm.SentencePieceTrainer.train(sentence_iterator=iter([t for t in texts * 20 if t.strip() and "\n" not in t]), model_writer=buffer, vocab_size=900, model_type="bpe", byte_fallback=True,
                               character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<tool>"], minloglevel=2, num_threads=1)
sp = spm.SentencePieceProcessor(model_proto=buffer.getvalue())
kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
pieces = [sp.id_to_piece(i) for i in range(sp.get_piece_size())]
scores = [sp.get_score(i) for i in range(sp.get_piece_size())]
piece_types = [4 if p == "<tool>" else kind(i) for i, p in enumerate(pieces)]


def text(s): b = s.encode(); return struct.pack("<Q", len(b)) + b
def kv(key, t, v):
    h = text(key)
    if t == "str": return h + struct.pack("<I", 8) + text(v)
    if t == "u32": return h + struct.pack("<II", 4, v)
    if t == "f32": return h + struct.pack("<If", 6, v)
    if t == "bool": return h + struct.pack("<IB", 7, v)
    if t == "strs": return h + struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    if t == "i32s": return h + struct.pack("<IIQ", 9, 5, len(v)) + struct.pack(f"<{len(v)}i", *v)
    if t == "f32s": return h + struct.pack("<IIQ", 9, 6, len(v)) + struct.pack(f"<{len(v)}f", *v)


def gguf(path, entries):
    entries = [("general.architecture", "str", "llama"), ("llama.context_length", "u32", 64), ("llama.embedding_length", "u32", 32), ("llama.block_count", "u32", 1), ("llama.feed_forward_length", "u32", 32),
               ("llama.attention.head_count", "u32", 1), ("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5)] + entries
    body = b"".join(kv(*e) for e in entries)
    open(path, "wb").write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + body + b"\0" * (-len(body) % 32 + 32))


gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
files = {}
for pre in ["smollm", "gpt-2", "llama-bpe", "qwen2", "tekken", "default"]:
    files["bpe/" + pre] = p = f"{work}/bpe_{pre}.gguf"
    gguf(p, [("tokenizer.ggml.model", "str", "gpt2"), ("tokenizer.ggml.pre", "str", pre), ("tokenizer.ggml.tokens", "strs", tokens), ("tokenizer.ggml.token_type", "i32s", types), ("tokenizer.ggml.merges", "strs", merges),
             ("tokenizer.ggml.bos_token_id", "u32", 1), ("tokenizer.ggml.eos_token_id", "u32", 2)])
for name, prefix in [("prefix", True), ("no_prefix", False)]:
    files["spm/" + name] = p = f"{work}/spm_{name}.gguf"
    gguf(p, [("tokenizer.ggml.model", "str", "llama"), ("tokenizer.ggml.tokens", "strs", pieces), ("tokenizer.ggml.scores", "f32s", scores), ("tokenizer.ggml.token_type", "i32s", piece_types),
             ("tokenizer.ggml.bos_token_id", "u32", 1), ("tokenizer.ggml.eos_token_id", "u32", 2), ("tokenizer.ggml.unknown_token_id", "u32", 0), ("tokenizer.ggml.add_space_prefix", "bool", prefix)])
json.dump(dict(files=files, texts=texts), open(work + "/tiny_in.json", "w"))
open(work + "/tiny.mjs", "w").write("""
import { readFileSync, writeFileSync } from "node:fs"; import { getLlama } from "node-llama-cpp";
const { files, texts } = JSON.parse(readFileSync("tiny_in.json", "utf8")); const out = {};
const llama = await getLlama({ gpu: false, build: "never" });
for (const [name, modelPath] of Object.entries(files)) { const m = await llama.loadModel({ modelPath, vocabOnly: true }); out[name] = texts.map((t) => [...m.tokenize(t, true)]); }
writeFileSync("tiny_out.json", JSON.stringify(out)); process.exit(0);
""")
subprocess.run(["node", "tiny.mjs"], cwd=work, check=True)
llama = json.load(open(work + "/tiny_out.json"))

cl = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
tekken = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
rust = {}
for name, regexes in {"smollm": [r"\p{N}", gpt2], "gpt-2": [gpt2], "llama-bpe": [cl % r"\p{N}{1,3}"], "qwen2": [cl % r"\p{N}"], "tekken": [tekken]}.items():
    t = Tokenizer(models.BPE(vocab=dict((x, i) for i, x in enumerate(tokens)), merges=[tuple(m.split(" ")) for m in merges], ignore_merges=name in ("llama-bpe", "tekken")))
    t.pre_tokenizer = pre_tokenizers.Sequence([split(r) for r in regexes] + [byte_level]); t.decoder = decoders.ByteLevel()
    if name == "qwen2": t.normalizer = normalizers.NFC()
    t.add_special_tokens(special); t.add_tokens(["<tool>"])
    rust[name] = [t.encode(x, add_special_tokens=False).ids for x in texts]
    differ = [i for i in range(len(texts)) if rust[name][i] != llama["bpe/" + name][i]]
    print(name, "differs from llama.cpp at", differ)
for name, add in (("prefix", True), ("no_prefix", False)):
    if add: print("sentencepiece differs from llama.cpp at", [i for i, x in enumerate(texts) if sp.encode(x) != llama["spm/prefix"][i]])
ids = {k[4:]: v for k, v in llama.items() if k.startswith("bpe/") and k not in ("bpe/tekken", "bpe/qwen2")}
json.dump(dict(count=len(texts), bpe=dict(tokens=tokens, types=types, merges=merges, ids=ids, rust={k: rust[k] for k in ("tekken", "qwen2")}),
               spm=dict(tokens=pieces, types=piece_types, scores=scores, ids={k[4:]: v for k, v in llama.items() if k.startswith("spm/")})), open(out, "w"), separators=(",", ":"))
