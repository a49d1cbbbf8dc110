"""Writes blocks.gguf with gguf-py: what other tools store, and what they say it means. usage: make_gguf.py OUT_DIR
(pip install gguf==0.19.0 numpy)

Metadata: one key of every type. Tensors, for each quantised type T:
  T, T.f32               quantised random weights (not Q6_K, which gguf-py does not encode), and gguf-py's decoding
  T.random, T.random.f32 random bits with finite scales: reaches quants and signs that real weights do not
and for narrowing: narrow (F32: ties, subnormals, overflow, NaN), narrow.f16, narrow.bf16; q8 (F32: ties, zeros), q8.q8_0.
"""
import sys
import numpy as np
from gguf import GGUFWriter, GGMLQuantizationType as T, GGUFValueType as V, quants, GGML_QUANT_SIZES

out = sys.argv[1]
rng = np.random.default_rng(11)
w = GGUFWriter(f"{out}/blocks.gguf", "llama")
w.add_uint8("test.uint8", 200)
w.add_int8("test.int8", -100)
w.add_uint16("test.uint16", 60000)
w.add_int16("test.int16", -30000)
w.add_uint32("test.uint32", 4000000000)
w.add_int32("test.int32", -2000000000)
w.add_uint64("test.uint64", 2**64 - 1)
w.add_key_value("test.uint64_small", 2**53 - 1, V.UINT64)
w.add_int64("test.int64", -(2**63))
w.add_float32("test.float32", 1e-5)
w.add_float64("test.float64", 0.1)
w.add_bool("test.bool", True)
w.add_string("test.string", "Grüße, 世界 🙂")
w.add_array("test.strings", ["a", "", "Ġthe", "é" * 40, "x" * 100])
w.add_array("test.ints", [1, -2, 3])
w.add_array("test.floats", [0.5, -1.25])
w.add_array("test.bools", [True, False, True])


def raw(name, data, qtype):
    """data: uint8 [rows, bytes of a row]."""
    w.add_tensor(name, data, raw_dtype=qtype)


def finite_scales(data, block, places):
    """Replaces the f16 at each of `places` in each block by a finite random one (random bits may be NaN)."""
    blocks = data.reshape(-1, block)
    for at in places:
        scale = (rng.standard_normal(len(blocks)) * 10.0 ** rng.uniform(-6, 2, len(blocks))).astype(np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)


SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q6_K": [208]}
for name, places in SCALES.items():
    t = T[name]
    block, size = GGML_QUANT_SIZES[t]
    columns = 256 if block == 256 else 96
    if name != "Q6_K":
        x = (rng.standard_normal((5, columns)) * 0.05).astype(np.float32)
        x[0, :32] = 0
        q = quants.quantize(x, t)
        raw(name, q, t)
        w.add_tensor(f"{name}.f32", quants.dequantize(q, t))
    q = rng.integers(0, 256, (7, columns // block * size), dtype=np.uint8)
    finite_scales(q, size, places)
    raw(f"{name}.random", q, t)
    w.add_tensor(f"{name}.random.f32", quants.dequantize(q, t))

# Every exponent, with mantissas around the ties of both narrow types.
bits = []
for exponent in range(256):
    for mantissa in (0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x7FFFFF):
        bits += [exponent << 23 | mantissa, 1 << 31 | exponent << 23 | mantissa]
bits += [0x33000000, 0x33000001, 0x477FEFFF, 0x477FF000, 0x477FE000]
narrow = np.array(bits, dtype=np.uint32).view(np.float32)
w.add_tensor("narrow", narrow)
with np.errstate(over="ignore"):
    w.add_tensor("narrow.f16", narrow.astype(np.float16))
raw("narrow.bf16", quants.quantize(narrow.reshape(1, -1), T.BF16)[0], T.BF16)

q8 = (rng.standard_normal((9, 64)) * 10.0 ** rng.uniform(-4, 3, (9, 1))).astype(np.float32)
q8[0] = 0
q8[1] = np.concatenate([np.arange(32) - 0.5, -(np.arange(32) - 0.5)])  # ties, once the maximum gives a scale of 1
q8[1, 0] = 127
q8[1, 32] = -127
w.add_tensor("q8", q8)
raw("q8.q8_0", quants.quantize(q8, T.Q8_0), T.Q8_0)

w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
