"""bitsandbytes' 4-bit weights of every kind and what it dequantises them to. usage: make_bnb4.py OUT_DIR
checkpoint.safetensors: weights named <type>.<blocksize>.<double|single>.<dtype>[.<storage>].weight with their parts, as
transformers saves them; expected.safetensors: the same names, dequantised, as float32. (bitsandbytes 0.50, on a CPU.)"""
import sys, torch, bitsandbytes as bnb
from safetensors.torch import save_file
out, parts, expected = sys.argv[1], {}, {}
torch.manual_seed(5)
for kind, block, double, dtype, storage in (
    ("nf4", 64, True, "bfloat16", "uint8"), ("nf4", 64, False, "float16", "uint8"), ("nf4", 64, True, "float32", "bfloat16"),
    ("nf4", 128, True, "bfloat16", "uint8"), ("fp4", 64, True, "bfloat16", "uint8"), ("fp4", 64, False, "float32", "float32"),
    ("fp4", 512, True, "float16", "uint8"),
):
    name = f"{kind}.{block}.{'double' if double else 'single'}.{dtype}" + ("" if storage == "uint8" else f".{storage}") + ".weight"
    w = (torch.randn(24, 76) * 0.05).to(getattr(torch, dtype)); w[0, :64] = 0; w[3, 5] = 2.5
    packed, state = bnb.functional.quantize_4bit(w, blocksize=block, compress_statistics=double, quant_type=kind, quant_storage=getattr(torch, storage))
    parts[name] = packed
    for k, v in state.as_dict(packed=True).items(): parts[f"{name}.{k}"] = v
    expected[name] = bnb.functional.dequantize_4bit(packed, state).float()
save_file({k: v.contiguous().clone() for k, v in parts.items()}, f"{out}/checkpoint.safetensors", metadata={"format": "pt"})
save_file({k: v.contiguous() for k, v in expected.items()}, f"{out}/expected.safetensors")
for k, v in parts.items(): print(k, tuple(v.shape), v.dtype)
