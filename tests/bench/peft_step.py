"""The peer of train_step.ts: PEFT on the CPU at the same shape. Prints the median step and the process's peak memory.

usage: peft_step.py MODEL_DIR DATA.jsonl [f32|bnb4]
needs: pip install torch transformers peft bitsandbytes accelerate
MODEL_DIR: deno task ftl export smollm2-135m --to safetensors -o base, then base/merged
DATA: data/cultural-qa-16.jsonl
"""
import json, resource, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from peft import LoraConfig, get_peft_model
import bitsandbytes as bnb

model_dir, data = sys.argv[1:3]
frozen = sys.argv[3] if len(sys.argv) > 3 else "f32"
PROMPT = ("Below is an instruction that describes a task, paired with an input that provides further context. "
          "Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n"
          "### Response:\n{}")
tokenizer = AutoTokenizer.from_pretrained(model_dir)
rows = [json.loads(line) for line in open(data)]
texts = [PROMPT.format(r["instruction"], r["input"], r["output"]) + "<|im_end|>" for r in rows]
encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                               bnb_4bit_compute_dtype=torch.float32)
options = {"quantization_config": quantised} if frozen == "bnb4" else {}
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, device_map="cpu", **options)
modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=modules, task_type="CAUSAL_LM"))
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = bnb.optim.AdamW8bit(trained, lr=2e-3)
model.train()

times = []
for step in range(6):
    begun = time.time()
    window = [encoded[(step * 8 + i) % len(encoded)] for i in range(8)]
    count = sum(len(ids) - 1 for ids in window)
    total = 0.0
    for at in range(0, 8, 2):
        pair = window[at:at + 2]
        length = max(map(len, pair))
        ids = torch.full((2, length), 2)
        labels = torch.full((2, length), -100)
        mask = torch.zeros((2, length), dtype=torch.long)
        for row, tokens in enumerate(pair):
            ids[row, :len(tokens)] = labels[row, :len(tokens)] = torch.tensor(tokens)
            mask[row, :len(tokens)] = 1
        logits = model(input_ids=ids, attention_mask=mask).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(),
                                                 ignore_index=-100, reduction="sum") / count
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.time() - begun)
    print(f"step {step + 1}: loss {total:.4f}, {times[-1]:.2f} s", flush=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{frozen}: median {sorted(times)[len(times) // 2]:.2f} s a step, peak {peak:.0f} MiB")
