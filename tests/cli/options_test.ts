/** The table of options and what is made of it: flags, precedence of sources, YAML, messages, the resolved file. */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { UserError } from "../../lib/errors.ts";
import { type CommandLine, type CommandShape, readCommandLine } from "../../lib/cli/command_line.ts";
import type { CommandName } from "../../lib/cli/option_spec.ts";
import { summaries } from "../../lib/cli/overview.ts";
import { flagOf, options, optionsOf } from "../../lib/cli/options.ts";
import { renderSettings, type Resolved, resolveTrain, type Sources } from "../../lib/cli/resolve.ts";

const shape: CommandShape = {
  name: "train",
  summary: "Trains.",
  usage: "[config.yaml]",
  most: 1,
  takes: [],
  examples: [["a", "b"]],
};

function flagsOf(...args: string[]): CommandLine {
  const line = readCommandLine(shape, args);
  assert.ok(!("help" in line));
  return line;
}

function resolve(sources: Partial<Sources>): Resolved {
  return resolveTrain({ flags: {}, ...sources });
}

/** The message of the UserError that `run` throws. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    assert.equal(error.exitCode, 2);
    return error.message;
  }
  assert.fail("nothing was thrown");
}

const commands = Object.keys(summaries) as CommandName[];

Deno.test("options have the names of PEFT and TRL and one short flag each within a command", () => {
  const names = "model data eval_data output_dir r lora_alpha lora_dropout target_modules use_rslora use_dora " +
    "init_lora_weights max_steps num_train_epochs per_device_train_batch_size gradient_accumulation_steps " +
    "learning_rate lr_scheduler_type warmup_steps weight_decay max_grad_norm optim max_length " +
    "train_on_responses_only shuffle_dataset gradient_checkpointing seed save_steps eval_steps";
  const known = optionsOf("train").map(([name]) => name as string);
  assert.deepEqual(names.split(" ").filter((name) => !known.includes(name)), []);
  for (const command of commands) {
    const shorts = optionsOf(command).flatMap(([, spec]) => spec.short ?? []);
    assert.equal(new Set(shorts).size, shorts.length, `${command}: ${shorts}`);
    assert.ok(!shorts.includes("h"), "-h is help");
  }
});

Deno.test("readCommandLine() takes dashes and underscores, =, short flags and switches", () => {
  const { flags, problems, positional } = flagsOf(
    ...["run.yaml", "--learning-rate", "1e-3", "--lora_alpha=32", "-r", "8", "--use_dora", "--no-shuffle-dataset"],
    ...["--target_modules", "q_proj,v_proj", "--gradient-checkpointing=false", "--max_steps=-1"],
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(positional, ["run.yaml"]);
  assert.deepEqual(flags, {
    target_modules: ["q_proj", "v_proj"],
    shuffle_dataset: false,
    r: 8,
    lora_alpha: 32,
    use_dora: true,
    max_steps: -1,
    learning_rate: 0.001,
    gradient_checkpointing: "false",
  });
});

Deno.test("readCommandLine() reports every problem at once, with the nearest flag", () => {
  const { problems } = flagsOf("--lernin-rate", "1", "--r=0", "--optim", "adam", "--seed", "1.5", "--eval-split=2");
  assert.deepEqual(problems.toSorted(), [
    "--eval-split: expected a number, at least 0, at most 0.9, got 2",
    "--lernin-rate: unknown flag, did you mean --learning-rate?",
    '--optim: expected one of adamw_8bit, adamw_torch, got "adam"',
    "--r: expected a whole number, at least 1, at most 1024, got 0",
    "--seed: expected a whole number, at least 0, at most 4294967295, got 1.5",
  ]);
  assert.match(refusal(() => flagsOf("--data")), /argument missing/);
});

Deno.test("readCommandLine() knows what other tools call a setting", () => {
  const { problems } = flagsOf("--lr", "1", "--batch-size", "4", "--lora_rank=8");
  assert.deepEqual(problems.toSorted(), [
    "--batch-size: unknown flag, did you mean --per-device-train-batch-size?",
    "--lora_rank=8: unknown flag, did you mean --r?",
    "--lr: unknown flag, did you mean --learning-rate?",
  ]);
});

Deno.test("readCommandLine() help shows every option of the command, its default and the examples", () => {
  for (const command of commands) {
    const line = readCommandLine({ ...shape, name: command }, ["--help"]);
    assert.ok("help" in line);
    for (const [name, spec] of optionsOf(command)) {
      assert.ok(line.help.includes(flagOf(name)), `${command} ${name}`);
      assert.ok(line.help.replace(/\s+/g, " ").includes(spec.help), `${command} ${name}: ${spec.help}`);
    }
    assert.match(line.help, /Examples:\n {2}a {2}b/);
  }
});

Deno.test("resolveTrain() prefers flag over file over preset over default", () => {
  const file = { text: "preset: quick\nr: 4\nlora_alpha: 8\nwarmup_steps: 1\n", name: "run.yaml" };
  const { settings, sources } = resolve({ flags: { r: 2 }, file });
  const shown = (name: keyof typeof settings) => [settings[name], sources[name]];
  assert.deepEqual(shown("r"), [2, "flag"]);
  assert.deepEqual(shown("lora_alpha"), [8, "file"]);
  assert.deepEqual(shown("max_steps"), [10, "preset"]);
  assert.deepEqual(shown("weight_decay"), [0.01, "default"]);
});

Deno.test("resolveTrain() without anything is the preset paper", () => {
  const { settings } = resolve({});
  const { max_steps, per_device_train_batch_size, gradient_accumulation_steps, r, lora_alpha, optim } = settings;
  assert.deepEqual([max_steps, per_device_train_batch_size, gradient_accumulation_steps, r, lora_alpha, optim], [
    ...[30, 2, 4, 16, 16, "adamw_8bit"],
  ]);
  assert.deepEqual([settings.lr_scheduler_type, settings.warmup_steps, settings.target_modules.length], [
    ...["linear", 5, 7],
  ]);
  assert.equal(settings.preset, "paper");
});

Deno.test("resolveTrain() lets num_train_epochs from a stronger source replace a preset's max_steps", () => {
  assert.equal(resolve({ flags: { num_train_epochs: 2 } }).settings.max_steps, -1);
  assert.equal(resolve({ file: { text: "num_train_epochs: 2", name: "f" } }).settings.max_steps, -1);
  assert.equal(resolve({ flags: { num_train_epochs: 2, max_steps: 7 } }).settings.max_steps, 7);
  assert.equal(resolve({ file: { text: "num_train_epochs: 2\nmax_steps: 9", name: "f" } }).settings.max_steps, 9);
});

Deno.test("resolveTrain() names file, line and nearest key, and every problem at once", () => {
  const text = "# mine\nmodel: x\nlearning-rate: 0.1\nlerning_rate: 3\noptim: sgd\nmax_steps: many\n";
  const message = refusal(() => resolve({ file: { text, name: "run.yaml" }, problems: ["--x: unknown flag"] }));
  assert.equal(message.split("\n")[0], "5 settings are wrong:");
  assert.deepEqual(message.split("\n").slice(1).map((line) => line.trim()).toSorted(), [
    "--x: unknown flag",
    "run.yaml:3: learning-rate: unknown setting, did you mean learning_rate?",
    "run.yaml:4: lerning_rate: unknown setting, did you mean learning_rate?",
    'run.yaml:5: optim: expected one of adamw_8bit, adamw_torch, got "sgd"',
    'run.yaml:6: max_steps: expected a whole number, at least -1, got "many"',
  ]);
});

const badFiles: [string, RegExp][] = [
  ["r: [1", /^run\.yaml:1: /],
  ["- r\n- 1", /^run\.yaml:1: expected lines of the form name: value/],
  ["just text", /^run\.yaml:1: expected lines of the form name: value/],
  ["r: 8\nr: 9", /run\.yaml:2: .*unique/i],
  ["eval_steps: 5", /^eval_steps: needs eval_data or eval_split/],
  ["early_stopping_patience: 2", /early_stopping_patience: needs eval_steps/],
  ["max_steps: 4\nwarmup_steps: 4", /^warmup_steps: expected fewer than the 4 steps/],
  ["target_modules: []", /^target_modules: needs at least one/],
  ["target_modules: [q_proj, qproj]", /^run\.yaml:1: target_modules: expected a list of .* got "qproj"/],
  ["learning_rate: 0", /^learning_rate: expected more than 0/],
  ["learning_rate: .nan", /^run\.yaml:1: learning_rate: expected a number/],
  ["r: 1e9", /^run\.yaml:1: r: expected a whole number, at least 1, at most 1024/],
  ["model: ''", /^run\.yaml:1: model: expected text/],
  ["use_dora: 1", /^run\.yaml:1: use_dora: expected true or false, got 1/],
  ["preset: papper", /preset: expected one of paper, quick, none, got "papper"/],
];

for (const [text, says] of badFiles) {
  Deno.test(`resolveTrain() refuses ${JSON.stringify(text)}`, () => {
    assert.match(refusal(() => resolve({ file: { text, name: "run.yaml" } })), says);
  });
}

Deno.test("renderSettings() writes a file that resolves to the same settings", () => {
  const first = resolve({
    flags: {
      learning_rate: 1e-7,
      data: ["a: b #c.jsonl", "d.csv"],
      eval_data: ["é\n.json"],
      eval_steps: 2,
      init_lora_weights: "true",
    },
  });
  const text = renderSettings(first.settings, { head: ["made by a test"], notes: { learning_rate: "as given" } });
  assert.match(text, /^# made by a test\n/);
  assert.match(text, /learning_rate: 1e-7 {2}# as given/);
  assert.deepEqual(Object.keys(parse(text)), optionsOf("train").map(([name]) => name));
  const again = resolve({ file: { text, name: "config.yaml" } });
  assert.deepEqual(again.settings, first.settings);
});

Deno.test("presets and defaults are valid by themselves", () => {
  for (const preset of options.preset.choices) assert.doesNotThrow(() => resolve({ flags: { preset } }), preset);
});

Deno.test("the config.yaml of runs of earlier versions, with one data file and no eval_data, is read as it was meant", () => {
  const text = "data: data/cultural-qa-16.jsonl\neval_data: null\n";
  const { settings } = resolveTrain({ flags: {}, file: { text, name: "config.yaml" } });
  assert.deepEqual([settings.data, settings.eval_data], [["data/cultural-qa-16.jsonl"], []]);
});
