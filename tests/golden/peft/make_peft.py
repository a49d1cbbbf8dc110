"""Adapters as PEFT saves them, on the tiny llama3 of tests/golden/tiny, and the logits they give. usage: make_peft.py TINY_DIR OUT_DIR
patterns/: target_modules is a regular expression, ranks and alphas by pattern, rsLoRA; layers/: only layer 1, bfloat16.
Each has expected.safetensors: input_ids [1,12], logits [1,12,V] float32. A and B are random, so that every one counts."""
import os, sys, torch
from safetensors.torch import save_file, load_file
from transformers import AutoModelForCausalLM
from peft import LoraConfig, get_peft_model
tiny, out = sys.argv[1:]
CONFIGS = {
    "patterns": LoraConfig(r=2, lora_alpha=4, use_rslora=True, target_modules=r".*\.layers\.(0|1)\.self_attn\.(q|v)_proj|.*layers\.1\.mlp\.down_proj",
                           rank_pattern={"layers.1.self_attn.q_proj": 5, "down_proj": 3}, alpha_pattern={r"layers\.\d+\.self_attn\.v_proj": 7, "down_proj": 1},
                           fan_in_fan_out=False, task_type="CAUSAL_LM"),
    "layers": LoraConfig(r=2, lora_alpha=6, target_modules=["k_proj", "up_proj"], layers_to_transform=[1], task_type="CAUSAL_LM"),
}
for name, config in CONFIGS.items():
    torch.manual_seed(11)
    base = AutoModelForCausalLM.from_pretrained(tiny + "/llama3", dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, config).eval()
    for n, p in model.named_parameters():
        if "lora_" in n: p.data = (torch.randn_like(p) * 0.1).bfloat16().float()
    ids = torch.randint(3, 512, (1, 12))
    with torch.no_grad(): logits = model(input_ids=ids).logits.float()
    model.save_pretrained(f"{out}/{name}")
    path = f"{out}/{name}/adapter_model.safetensors"; saved = load_file(path)
    if name == "layers": save_file({k: v.bfloat16() for k, v in saved.items()}, path, metadata={"format": "pt"})
    if os.path.exists(f"{out}/{name}/README.md"): os.remove(f"{out}/{name}/README.md")
    save_file({"input_ids": ids, "logits": logits}, f"{out}/{name}/expected.safetensors")
    print(name, {k: tuple(v.shape) for k, v in saved.items()})
