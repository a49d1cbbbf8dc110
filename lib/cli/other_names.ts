/** What settings are called by other fine-tuners, and by people from memory: for the line about a setting that there is not. */
import type { OptionName } from "./options.ts";

const names: Partial<Record<OptionName, string>> = {
  learning_rate: "lr",
  num_train_epochs: "epochs epoch num_epochs n_epochs",
  max_steps: "steps iters iterations n_steps",
  per_device_train_batch_size: "batch_size micro_batch_size train_batch_size batch",
  gradient_accumulation_steps: "grad_accum grad_accumulation accumulation_steps accum",
  r: "lora_r lora_rank rank",
  lora_alpha: "alpha",
  lora_dropout: "dropout",
  target_modules: "lora_target lora_target_modules modules",
  max_length: "max_seq_length max_seq_len seq_length seq_len sequence_len cutoff_len context_length",
  model: "model_name_or_path model_name model_id base_model pretrained_model_name_or_path",
  data: "dataset datasets dataset_path train_data train_file data_path",
  eval_split: "val_set_size val_size test_size split",
  eval_data: "eval_dataset val_data validation_file",
  output_dir: "output out out_dir output_path",
  output_file: "output out outfile",
  resume: "resume_from_checkpoint checkpoint",
  optim: "optimizer optimiser",
  lr_scheduler_type: "lr_scheduler scheduler",
  warmup_steps: "warmup warmup_ratio",
  max_grad_norm: "grad_clip gradient_clipping clip",
  train_on_responses_only: "mask_prompt completion_only assistant_only_loss",
  to: "quant quantize quantization quantization_method outtype format gguf type",
  max_new_tokens: "max_tokens n_predict num_predict",
  temperature: "temp",
  adapter: "lora adapter_path lora_path",
  engine: "device backend",
};

/** Other names, with blanks between them, by a setting's own. */
export const otherNames: Record<string, string | undefined> = names;
