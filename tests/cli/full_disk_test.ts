/**
 * A disk that fills up while a training runs, and one that is full or read-only from the start: a small tmpfs, mounted
 * where only the test's own processes see it. Skipped, with a line, where that is not allowed.
 */
import assert from "node:assert/strict";
import { readCheckpoint } from "../../lib/train/checkpoint.ts";
import { ftlCommand, inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { outcomeOf, thirtySteps } from "../helpers/interrupted_run.ts";

const mayMount = Deno.build.os === "linux" && await succeeds(`mount -t tmpfs -o size=1M tmpfs "$(mktemp -d)"`);
if (!mayMount) console.log("no disk can be mounted here: tests of full and read-only disks are skipped");

/** A process that may mount, for itself and its children. */
function mounting(script: string, options: Deno.CommandOptions = {}): Deno.Command {
  return new Deno.Command("unshare", { args: ["-rm", "bash", "-c", script], ...options });
}

async function succeeds(script: string): Promise<boolean> {
  try {
    return (await mounting(script).output()).success;
  } catch {
    return false;
  }
}

const quoted = (args: string[]) => ftlCommand(args).map((word) => `'${word}'`).join(" ");

/** Runs a script in a folder that has the empty folder "disk". */
async function run(script: string, folder: string): Promise<void> {
  const env = { FTL_CACHE: `${folder}/cache`, NO_COLOR: "1" };
  const { success, stderr } = await mounting(`set -eu\n${script}`, { cwd: folder, env, stdin: "null" }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

Deno.test({
  name: "a disk that fills up while a training runs costs checkpoints, not the training; it goes on bit for bit",
  ignore: !mayMount,
  fn: () =>
    inWorkplace(async ({ ftl, folder }) => {
      const whole = await ftl([...thirtySteps, "-o", "whole", "--save-steps", "3"]);
      assert.equal(whole.code, 0, whole.stderr);
      Deno.mkdirSync(`${folder}/disk`);
      const args = [...thirtySteps, "-o", "disk/run", "--save-steps", "3"];
      await run(
        `mount -t tmpfs -o size=8M tmpfs disk
        ${quoted(args)} > out.txt 2> said.txt &
        until [ -e disk/run/checkpoints/step-000003.safetensors ]; do sleep 0.01; done
        cat /dev/zero > disk/ballast 2> /dev/null || true
        wait $! && code=0 || code=$?
        echo $code > code.txt
        cp -r disk/run/checkpoints kept
        rm disk/ballast
        ${quoted(["train", "--resume", "disk/run"])} > out2.txt 2> said2.txt
        cp -r disk/run run`,
        folder,
      );
      const read = (name: string) => Deno.readTextFileSync(`${folder}/${name}`), said = read("said.txt");
      assert.equal(read("code.txt"), "1\n", said);
      const kept = [...Deno.readDirSync(`${folder}/kept`)].map(({ name }) => name).sort();
      assert.ok(kept.length >= 1 && kept.every((name) => /^step-\d{6}\.safetensors$/.test(name)), `${kept}`);
      const { step } = readCheckpoint(`${folder}/kept/${kept.at(-1)}`).state;
      assert.ok(step >= 3 && step < 30);
      assert.match(
        said,
        new RegExp(`\nstep 30 is not saved: .*; the run goes on, the checkpoint of step ${step} is whole\n`),
      );
      const refused = said.match(/^step \d+ is not saved: .*$/gm)!;
      for (const line of refused) {
        assert.match(line, /the disk is full|A checkpoint needs [\d.]+ kB in .*, [\d.]+ kB are/);
      }
      assert.match(
        said,
        new RegExp(
          "\nftl: Cannot write disk/run/adapter/.*: the disk is full\n" +
            `  try: When the disk takes it: .*ftl train --resume disk/run \\(it goes on from step ${step}, .*\\)\n$`,
        ),
      );
      assert.match(read("said2.txt"), new RegExp(`resumed at step ${step} `));
      assert.deepEqual(outcomeOf(`${folder}/run`), outcomeOf(`${folder}/whole`));
    }),
});

Deno.test({
  name: "every command says in one line that a disk is full or read-only, and leaves what is there",
  ignore: !mayMount,
  fn: () =>
    inWorkplace(async ({ folder, write }) => {
      Deno.mkdirSync(`${folder}/disk`);
      write("grid.yaml", "model: model\ndata: [rows.jsonl]\nseed: [1]\nmax_steps: 1\nthreads: 1\nengine: onnx\n");
      const commands: Record<string, string[]> = {
        train: [...tinyTraining, "-o", "disk/new"],
        resume: ["train", "--resume", "disk/run"],
        export: ["export", "disk/run", "--to", "q8_0,safetensors"],
        data: ["data", "rows.jsonl", "-m", "model", "--output-file", "disk/rows.jsonl"],
        eval: [
          "eval",
          "model",
          "rows.jsonl",
          "--limit",
          "1",
          "--max-new-tokens",
          "1",
          "--output-file",
          "disk/eval.json",
        ],
        compare: ["compare", "model", "--data", "rows.jsonl", "--limit", "1", "--output-dir", "disk/compared"],
        experiment: ["experiment", "grid.yaml", "-o", "disk/experiment"],
        report: ["report", "disk/run"],
      };
      const all = (how: string) =>
        Object.entries(commands).map(([name, args]) =>
          `${
            quoted(args)
          } > /dev/null 2> ${how}-${name}.txt && code=0 || code=$?; echo "code $code" >> ${how}-${name}.txt`
        ).join("\n");
      const sums = "find disk/run -type f | sort | xargs sha256sum";
      await run(
        `mount -t tmpfs -o size=8M tmpfs disk
        ${quoted([...tinyTraining, "-o", "disk/run"])} > /dev/null 2> first.txt
        ${sums} > before.txt
        mount -o remount,ro disk
        ${all("read-only")}
        mount -o remount,rw disk
        cat /dev/zero > disk/ballast 2> /dev/null || true
        ${all("full")}
        ${sums} > after.txt`,
        folder,
      );
      const read = (name: string) => Deno.readTextFileSync(`${folder}/${name}`);
      for (const how of ["read-only", "full"]) {
        for (const name of Object.keys(commands)) {
          const said = read(`${how}-${name}.txt`), about = `${how}, ${name}: ${said}`;
          assert.match(said, /\ncode 1\n$/, about);
          assert.match(said, /^ftl: .*(read-only|disk is full|needs .* are free)$/m, about);
          assert.match(said, /^ {2}try: /m, about);
          assert.doesNotMatch(said, /internal error|^\s+at /m, about);
        }
      }
      assert.equal(read("after.txt"), read("before.txt"));
    }),
});
