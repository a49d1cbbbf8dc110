"""Writes k_quants.gguf: blocks as llama.cpp itself decodes and encodes them. usage: make_k_quants.py LIBGGML_BASE OUT_DIR
(pip install gguf==0.19.0 numpy; LIBGGML_BASE is libggml-base.so of llama.cpp 0.5.0 for x86-64, which exports both.)

For each type T that is read:
  T.random, T.random.f32  random bits with finite scales, and llama.cpp's dequantize_row_T (gguf-py's must be the same)
and for the encoders, which must give the same bytes:
  x        F32 rows of every kind that the quantisers treat apart: see `rows`
  x.T      ggml_quantize_chunk without importance matrix, T one of Q4_0 Q5_0 Q5_1 Q4_K Q5_K Q6_K
"""
import ctypes, sys
import numpy as np
from gguf import GGUFWriter, GGMLQuantizationType as T, quants, GGML_QUANT_SIZES

lib, out = ctypes.CDLL(sys.argv[1]), sys.argv[2]
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
rng = np.random.default_rng(12)
w = GGUFWriter(f"{out}/k_quants.gguf", "llama")


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def dequantize(q, t, count):
    y = np.empty(count, dtype=np.float32)
    getattr(lib, "dequantize_row_" + t.name.lower().replace("_k", "_K"))(pointer(q), pointer(y), ctypes.c_int64(count))
    return y


def quantize(x, t):
    block, size = GGML_QUANT_SIZES[t]
    q = np.zeros((x.shape[0], x.shape[1] // block * size), dtype=np.uint8)
    rows, columns = (ctypes.c_int64(n) for n in x.shape)
    lib.ggml_quantize_chunk(ctypes.c_int(t), pointer(x), pointer(q), ctypes.c_int64(0), rows, columns, None)
    return q


# Where the f16 scales of a block lie (Q8_K: f32, made below).
SCALES = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [],
          "IQ4_NL": [0], "IQ4_XS": [0]}
for name, places in SCALES.items():
    t = T[name]
    block, size = GGML_QUANT_SIZES[t]
    q = rng.integers(0, 256, (4, size * (4 if block == 32 else 1)), dtype=np.uint8)
    blocks = q.reshape(-1, size)
    for at in places:
        scale = (rng.standard_normal(len(blocks)) * 10.0 ** rng.uniform(-6, 2, len(blocks))).astype(np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    if name == "Q8_K":
        blocks[:, :4] = (rng.standard_normal(len(blocks)) * 0.01).astype(np.float32).view(np.uint8).reshape(-1, 4)
    y = dequantize(q, t, 4 * (128 if block == 32 else 256)).reshape(4, -1)
    if name != "Q8_K":  # gguf-py does not decode it
        assert np.array_equal(y.view(np.uint32), quants.dequantize(q, t).view(np.uint32)), name
    w.add_tensor(f"{name}.random", q, raw_dtype=t)
    w.add_tensor(f"{name}.random.f32", y)

normal = lambda: rng.standard_normal(256).astype(np.float32)
rows = [normal() * np.float32(10.0 ** e) for e in (-12, -6, -3, -2, -2, -1, 0, 2)]
rows.append((normal() ** 5 * 0.01).astype(np.float32))  # a few large values
rows.append(np.abs(normal()))  # no value below zero: the minimum is 0
rows.append(-np.abs(normal()) - 1)  # none above
rows.append(np.zeros(256, dtype=np.float32))
rows.append(np.full(256, -0.25, dtype=np.float32))  # largest equals smallest
rows.append(np.where(np.arange(256) < 32, 0, normal()).astype(np.float32))  # a group of zeros
rows.append(np.where(np.arange(256) < 224, normal() * 1e-7, normal()).astype(np.float32))  # scales that round to zero
rows.append(np.repeat(rng.choice([-1, 1], 32), 8).astype(np.float32))  # ties
rows.append((normal() * 1e-40).astype(np.float32))  # subnormal
rows.append((normal() * 0.02).astype(np.float16).astype(np.float32))  # as of an F16 file
x = np.stack(rows)
w.add_tensor("x", x)
for name in ["Q4_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]:
    w.add_tensor(f"x.{name}", quantize(x, T[name]), raw_dtype=T[name])

w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
