"""Rotary frequencies and factors of transformers 5 for the ways a model's context is stretched. usage: make_rope.py > rope.json
A list of {config, inv_freq, attention_factor}; config is a config.json, in both spellings of the scaling."""
import json, sys, torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
base = dict(model_type="llama", vocab_size=64, hidden_size=256, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=32768, rms_norm_eps=1e-5)
scalings = [
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192},
    {"rope_type": "yarn", "factor": 4.0},
    {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 2048, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.5},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707, "mscale_all_dim": 1.0},
    {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False},
]
out = []
for scaling in scalings:
    for recent in (False, True):
        theta = 1000000.0 if scaling["rope_type"] == "yarn" else 10000.0
        old = {**{k: v for k, v in scaling.items() if k != "rope_type"}, "type": scaling["rope_type"]}
        config = {**base, **(dict(rope_parameters={**scaling, "rope_theta": theta}) if recent else dict(rope_theta=theta, rope_scaling=old))}
        made = LlamaConfig(**json.loads(json.dumps(config)))
        # dynamic: of a text that fills the model's context.
        inv, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](made, torch.device("cpu"), seq_len=base["max_position_embeddings"])
        out.append(dict(config=config, inv_freq=[float(f"{x:.9g}") for x in inv.tolist()], attention_factor=float(factor)))
json.dump(out, sys.stdout)
