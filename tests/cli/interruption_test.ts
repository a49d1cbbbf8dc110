/**
 * What people and systems do to a running training: Ctrl-C, once and twice, SIGTERM, a closed terminal, a second process,
 * a clock that jumps, a reader that goes away. Real processes; a run that goes on ends in the bits of one left alone.
 */
import assert from "node:assert/strict";
import { listCheckpoints, readCheckpoint } from "../../lib/train/checkpoint.ts";
import { ftlCommand, inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { isFree, longSteps, outcomeOf, stepsOf, thirtySteps, until } from "../helpers/interrupted_run.ts";

const unix = Deno.build.os !== "windows", linux = Deno.build.os === "linux";

/** Words as a shell reads them. */
const quoted = (words: string[]) => words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");

/** Collects what a process prints while it runs. */
function listen(stream: ReadableStream<Uint8Array>): () => string {
  let text = "";
  stream.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write: (part) => void (text += part) }));
  return () => text;
}

Deno.test({
  name: "a training stops with a checkpoint at SIGTERM and when its terminal is closed; it goes on bit for bit",
  ignore: !linux,
  fn: () =>
    inWorkplace(async ({ ftl, start, folder }) => {
      const whole = await ftl([...thirtySteps, "-o", "whole"]);
      assert.equal(whole.code, 0, whole.stderr);
      for (const how of ["SIGTERM", "terminal"] as const) {
        const run = `${folder}/${how}`, args = [...thirtySteps, "-o", how, "--save-steps", "0"];
        if (how === "terminal") {
          // `script` owns the terminal: when it is gone, so is the terminal, and what is written to it is an error.
          const owner = new Deno.Command("script", {
            args: ["-qec", quoted(ftlCommand(args)), "/dev/null"],
            cwd: folder,
            env: { FTL_CACHE: `${folder}/cache` },
            stdin: "null",
            stdout: "piped",
            stderr: "null",
          }).spawn();
          listen(owner.stdout);
          await until(() => stepsOf(run) >= 3, "three steps");
          owner.kill("SIGKILL");
          await owner.status;
          await until(() => isFree(run), "the training stopped");
        } else {
          const child = start(args);
          await until(() => stepsOf(run) >= 3, "three steps");
          child.kill(how);
          const { code, stderr } = await child.output(), said = new TextDecoder().decode(stderr);
          assert.equal(code, 130, said);
          assert.match(said, /stopped at step \d+; go on with: .*ftl train --resume/);
        }
        const [checkpoint, ...others] = listCheckpoints(`${run}/checkpoints`);
        assert.ok(others.length === 0 && checkpoint.step < 30, `${how}: ${checkpoint.step}`);
        assert.equal(checkpoint.step, stepsOf(run), `${how}: every step is saved`);
        const rest = await ftl(["train", "--resume", how]);
        assert.equal(rest.code, 0, rest.stderr);
        assert.deepEqual(outcomeOf(run), outcomeOf(`${folder}/whole`), how);
      }
    }),
});

Deno.test({
  name: "a training under nohup outlives its terminal",
  ignore: !linux,
  fn: () =>
    inWorkplace(async ({ folder }) => {
      const [program, ...args] = ["nohup", ...ftlCommand([...thirtySteps, "-o", "run"])];
      const env = { FTL_CACHE: `${folder}/cache` };
      const child = new Deno.Command(program, {
        args,
        cwd: folder,
        env,
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      })
        .spawn();
      const said = listen(child.stderr);
      await until(() => stepsOf(`${folder}/run`) >= 3, "three steps");
      child.kill("SIGHUP");
      assert.equal((await child.status).code, 0, said());
      assert.equal(stepsOf(`${folder}/run`), 30);
    }),
});

Deno.test({
  name: "Ctrl-C twice ends a training in the middle of a step; the checkpoint before is whole",
  ignore: !unix,
  fn: () =>
    inWorkplace(async (place) => {
      const { start, folder, ftl } = place, run = `${folder}/run`;
      let told = "stopped at step";
      // A step may happen to end between the two.
      for (let tries = 3; tries > 0 && told.includes("stopped at step"); tries--) {
        if (tries < 3) Deno.removeSync(run, { recursive: true });
        const child = start([...longSteps(place), "-o", "run"]);
        const said = listen(child.stderr);
        listen(child.stdout);
        await until(() => listCheckpoints(`${run}/checkpoints`).length > 0, "a checkpoint");
        child.kill("SIGINT");
        await until(() => said().includes("press Ctrl-C again"), "it was told");
        child.kill("SIGINT");
        assert.equal((await child.status).code, 130);
        told = said();
      }
      assert.doesNotMatch(told, /stopped at step/);
      const saved = listCheckpoints(`${run}/checkpoints`);
      assert.ok(saved.length > 0 && saved.length <= 2, told);
      for (const { path, step } of saved) assert.equal(readCheckpoint(path).state.step, step);
      assert.ok(isFree(run));
      const rest = await ftl(["train", "--resume", "run"]);
      assert.equal(rest.code, 0, rest.stderr);
      assert.equal(stepsOf(run), 4);
    }),
});

Deno.test("of trainings that begin at once in one folder exactly one does; the others name it", async () => {
  await inWorkplace(async ({ start, folder, ftl, list }) => {
    const children = Array.from({ length: 4 }, () => start([...thirtySteps, "-o", "run"]));
    const ended = await Promise.all(children.map(async (child) => {
      const { code, stderr } = await child.output();
      return { code, said: new TextDecoder().decode(stderr), pid: child.pid };
    }));
    const winners = ended.filter(({ code }) => code === 0);
    assert.equal(winners.length, 1, ended.map(({ said }) => said).join("\n"));
    for (const { code, said } of ended.filter((one) => one !== winners[0])) {
      assert.equal(code, 1);
      const owner = `process ${winners[0].pid} on ${Deno.hostname()} since \\d{4}-.*Z`;
      // Whoever comes between the winner's lock and its name in it, or after its end, is told less.
      assert.match(
        said,
        new RegExp(
          `^ftl: (Cannot use the folder run: (${owner}|another process) is writing to it|Output folder in use)`,
        ),
      );
    }
    assert.equal(stepsOf(`${folder}/run`), 30);
    assert.ok(list("run/adapter").length === 2 && !list("run").includes(".lock"));

    // Without a folder of their own, runs at once get different ones.
    const both = await Promise.all([ftl(tinyTraining), ftl(tinyTraining)]);
    assert.deepEqual(both.map(({ code }) => code), [0, 0]);
    assert.deepEqual(list("runs"), ["model-1", "model-2"]);
  });
});

Deno.test("a clock that jumps by years, back and forth, changes nothing", async () => {
  await inWorkplace(async ({ ftl, folder }) => {
    const whole = await ftl([...thirtySteps, "-o", "whole"]);
    assert.equal(whole.code, 0, whole.stderr);
    const [program, ...args] = ftlCommand([...thirtySteps, "-o", "run"]);
    const clock = new URL("../helpers/jumping_clock.ts", import.meta.url).pathname;
    const { code, stderr } = await new Deno.Command(program, {
      args: [args[0], "--preload", clock, ...args.slice(1)],
      cwd: folder,
      env: { FTL_CACHE: `${folder}/cache` },
    }).output();
    const said = new TextDecoder().decode(stderr);
    assert.equal(code, 0, said);
    assert.deepEqual(outcomeOf(`${folder}/run`), outcomeOf(`${folder}/whole`));
    const times = [...said.matchAll(/(?:(\S+) left|took (\S+))/g)].map(([, left, took]) => left ?? took);
    assert.ok(times.length > 5, said);
    for (const time of times) assert.match(time, /^[0-9]:\d\d$/, said);
    const seconds = Deno.readTextFileSync(`${folder}/run/log.jsonl`).match(/"seconds":[^,]*/g)!;
    for (const one of seconds) assert.match(one, /"seconds":\d{1,2}(\.\d+)?$/);
  });
});

Deno.test({
  name: "a reader that goes away ends a command without a word",
  ignore: !unix,
  fn: () =>
    inWorkplace(async ({ folder }) => {
      const piped = async (args: string[], reader: string) => {
        const { stdout, stderr } = await new Deno.Command("bash", {
          args: ["-c", `${quoted(ftlCommand(args))} | ${reader}; echo "codes \${PIPESTATUS[@]}"`],
          cwd: folder,
          env: { FTL_CACHE: `${folder}/cache` },
          stdin: "null",
        }).output();
        return [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      };
      const [shown, said] = await piped(
        ["run", "model", "hello", "--max-new-tokens", "400", "--temperature", "2"],
        "head -c 1",
      );
      assert.match(shown, /\ncodes 141 0\n$|^.codes 141 0\n$/s);
      assert.equal(said, "");
      for (const args of [["data", "rows.jsonl", "-m", "model", "--json"], ["--help"], ["models"], ["run", "--help"]]) {
        const [shown, said] = await piped(args, "true");
        assert.match(shown, /^codes (0|141) 0\n$/, args.join(" "));
        assert.doesNotMatch(said, /error|ftl:/, args.join(" "));
      }
    }),
});
