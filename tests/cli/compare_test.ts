/** `ftl compare` as a person runs it, against servers that answer, fail and are killed in between. */
import assert from "node:assert/strict";
import { runCommand } from "../../lib/cli/commands.ts";
import { UserError } from "../../lib/errors.ts";
import type { CompareResults } from "../../lib/eval/comparison.ts";
import { type Act, chatScript } from "../helpers/chat_script.ts";
import { filesWith, inWorkplace, tinyTraining, type Workplace } from "../helpers/ftl.ts";

const colours = ["red", "green", "blue", "black", "white", "brown"];
/** Right for even numbers. */
const answerTo = (question: string): Act => {
  const i = Number(/\d/.exec(question)![0]);
  return { do: "answer", text: `Number ${i} is ${i % 2 === 0 ? colours[i] : "purple"}.` };
};

const read = ({ folder }: Workplace, name: string) => Deno.readTextFileSync(`${folder}/${name}`);
const resultsOf = (place: Workplace, folder = "compare"): CompareResults =>
  JSON.parse(read(place, `${folder}/results.json`));

/** Keys of the whole lines of a log. */
function loggedQuestions(place: Workplace, folder: string): string[] {
  let text: string;
  try {
    text = read(place, `${folder}/answers.jsonl`);
  } catch {
    return [];
  }
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line).question);
}

Deno.test("ftl compare scores remote models, counts what they cost, and keeps keys out of everything", async () => {
  const secret = "very-secret-value-42";
  await chatScript((question, before) => {
    if (before === 0 && question.includes("3")) return { do: "status", status: 503, body: `no ${secret}` };
    if (question.includes("5")) return { do: "status", status: 400, body: `key ${secret} cannot` };
    return answerTo(question);
  }, async ({ url, asked }) => {
    await inWorkplace(async (place) => {
      const name = `${url}#some-model`;
      const { code, stdout, stderr } = await place.ftl(
        ["compare", "-r", name, "--data", "rows.jsonl", "--price", `${name}=2/10`],
        { FTL_REMOTE_KEY: secret, FTL_DEBUG: "1" },
      );
      assert.equal(code, 1, "one answer is missing");
      assert.match(stderr, /1 answer is missing; the same command asks again/);
      assert.match(stdout, /1 without an answer: 400, the request is refused: key \[key\] cannot/);
      assert.match(stdout, /answered +refused[\s\S]+5 of 6 +0 +50 +20 .* 0\.000300 +-\n/);
      assert.ok(asked.every(({ authorization }) => authorization === `Bearer ${secret}`));

      const [model] = resultsOf(place).models;
      assert.deepEqual([model.answered, model.failed, model.prompt_tokens, model.answer_tokens], [5, 1, 50, 20]);
      assert.equal(model.cost, (50 * 2 + 20 * 10) / 1e6);
      assert.equal(model.scores[0].exact!.value, 3 / 5);
      assert.equal(model.scores[0].accepted!.value, 3 / 5);
      assert.equal(model.answers[5].error, "400, the request is refused: key [key] cannot");
      assert.deepEqual(place.list("compare"), [
        "answers.csv",
        "answers.jsonl",
        "models.csv",
        "results.json",
        "scores.csv",
      ]);
      assert.deepEqual(filesWith(place.folder, secret), []);
      assert.ok(filesWith(place.folder, "some-model").length >= 4, "the search finds what is there");
      assert.ok(!(stdout + stderr).includes(secret));
      assert.equal(read(place, "compare/answers.csv").trim().split("\r\n").length, 7);
    });
  });
});

Deno.test("ftl compare goes on with the other models when one cannot be asked", async () => {
  await chatScript(() => ({ do: "status", status: 401 }), async (closed) => {
    await chatScript(answerTo, async (open) => {
      await inWorkplace(async (place) => {
        const models = [`${closed.url}#a`, `${open.url}#b`].flatMap((name) => ["-r", name]);
        const { code, stdout } = await place.ftl(["compare", ...models, "--data", "rows.jsonl", "--at-once", "1"]);
        assert.equal(code, 1);
        assert.match(stdout, /#a: 6 without an answer: 401, the key is missing or wrong/);
        assert.deepEqual(resultsOf(place).models.map(({ answered }) => answered), [0, 6]);
        assert.equal(closed.asked.length, 1);
      });
    });
  });
});

Deno.test("ftl compare, killed anywhere, asks no answer twice and ends with the same table", async () => {
  const seen: string[] = [];
  const act = (question: string): Act => {
    seen.push(question);
    return { ...answerTo(question), delay: 60, perPiece: 5 } as Act;
  };
  await chatScript(act, async ({ url, underWay }) => {
    await inWorkplace(async (place) => {
      const many = Array.from({ length: 40 }, (_, i) => {
        const output = `Number ${i % 6} is ${colours[i % 6]}.`;
        return JSON.stringify({ instruction: `What is number ${i % 6}, asked ${i}?`, input: "", output }) + "\n";
      });
      place.write("many.jsonl", many.join(""));
      const args = (
        folder: string,
      ) => ["compare", "-r", `${url}#m`, "--data", "many.jsonl", "-o", folder, "--at-once", "3"];
      const whole = await place.ftl(args("whole"));
      assert.equal(whole.code, 0, whole.stderr);
      assert.equal(seen.length, 40);
      assert.ok(underWay.most <= 3, `${underWay.most} at once`);

      for (let kill = 0; kill < 4; kill++) {
        const known = loggedQuestions(place, "killed");
        seen.length = 0;
        const child = place.start(args("killed"));
        // Somewhere behind a few more answers, in the middle of whatever is under way then.
        for (const end = Date.now() + 60_000; loggedQuestions(place, "killed").length < known.length + 2 + kill;) {
          assert.ok(Date.now() < end, "nothing is asked");
          await new Promise((resolve) => setTimeout(resolve, 3 + 7 * kill));
        }
        child.kill("SIGKILL");
        await child.output();
        assert.deepEqual(seen.filter((question) => known.includes(question)), [], "asked twice");
        // What a kill in the middle of a write leaves behind.
        const file = `${place.folder}/killed/answers.jsonl`,
          line = read(place, "whole/answers.jsonl").split("\n")[kill];
        Deno.writeTextFileSync(file, line.slice(0, [1, 40, line.length - 1, line.length][kill]), { append: true });
      }
      const known = loggedQuestions(place, "killed");
      assert.equal(new Set(known).size, known.length);
      seen.length = 0;
      const last = await place.ftl(args("killed"));
      assert.equal(last.code, 0, last.stderr);
      assert.equal(seen.length, 40 - known.length);
      const [a] = resultsOf(place, "whole").models, [b] = resultsOf(place, "killed").models;
      assert.deepEqual(b.scores, a.scores);
      assert.deepEqual(b.answers.map(({ text }) => text), a.answers.map(({ text }) => text));
      assert.deepEqual([b.answered, b.prompt_tokens, b.answer_tokens], [a.answered, a.prompt_tokens, a.answer_tokens]);

      seen.length = 0;
      assert.equal((await place.ftl(args("killed"))).code, 0);
      assert.deepEqual(seen, [], "all is known");

      const child = place.start(args("stopped"));
      while (loggedQuestions(place, "stopped").length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill("SIGINT");
      const { code, stdout } = await child.output();
      assert.equal(code, 130);
      assert.match(new TextDecoder().decode(stdout), /#m: \d+ without an answer: not asked\n/);
      const stopped = resultsOf(place, "stopped");
      assert.equal(stopped.complete, false);
      assert.equal(stopped.models[0].answered, loggedQuestions(place, "stopped").length);
    });
  });
});

Deno.test("ftl compare asks local models once, one answer at a time, and a run anew when it was trained anew", async () => {
  await inWorkplace(async (place) => {
    const trained = await place.ftl([...tinyTraining, "--questions", "0"]);
    assert.equal(trained.code, 0, trained.stderr);
    const args = ["compare", "model", "runs/model-1", "--limit", "2", "--max-new-tokens", "5", "--threads", "1"];
    const first = await place.ftl(args);
    assert.equal(first.code, 0, first.stderr);
    const found = resultsOf(place);
    assert.deepEqual(found.sets.map(({ role }) => role), ["trained", "control"], "the run's own questions");
    assert.deepEqual(found.models.map(({ name, answered }) => [name, answered]), [["model", 4], ["runs/model-1", 4]]);
    for (const { first_token_ms, tokens_per_second, bytes, cost } of found.models) {
      assert.ok(first_token_ms! > 0 && tokens_per_second! > 0 && cost === null);
      assert.ok(bytes! > 100_000, `${bytes}`);
    }
    assert.ok(found.models[1].bytes! > found.models[0].bytes!, "the adapter weighs something");

    const log = read(place, "compare/answers.jsonl");
    assert.equal((await place.ftl(args)).code, 0);
    assert.equal(read(place, "compare/answers.jsonl"), log, "nothing is asked again");
    assert.deepEqual(resultsOf(place).models, found.models);

    const weights = `${place.folder}/runs/model-1/adapter/adapter_model.safetensors`,
      bytes = Deno.readFileSync(weights);
    bytes[bytes.length - 4] ^= 1;
    Deno.writeFileSync(weights, bytes);
    assert.equal((await place.ftl(args)).code, 0);
    assert.equal(read(place, "compare/answers.jsonl").split("\n").length, log.split("\n").length + 4);
  });
});

const refused: [string[], RegExp][] = [
  [["compare"], /Name the models to compare/],
  [["compare", "-r", "openia:gpt"], /unknown provider "openia", did you mean openai\?/],
  [["compare", "-r", "openai:gpt-4o-mini"], /there is no key for it\n.*OPENAI_API_KEY/],
  [["compare", "-r", "gpt-4o-mini"], /neither provider:model nor an address/],
  [["compare", "-r", "https://host/v1"], /the model's name is missing/],
  [
    ["compare", "-r", "https://user:pass@host/v1#m"],
    /^Remote model at host: a key does not belong into the address/,
  ],
  [["compare", "-r", "http://a/v1#m", "-r", "http://a/v1#m"], /is named twice/],
  [["compare", "-r", "http://a/v1#m", "--price", "m"], /neither MODEL=INPUT\/OUTPUT nor a file/],
  [["compare", "-r", "http://a/v1#m", "--price", "http://a/v1#m=cheap"], /expected two prices for a million tokens/],
  [["compare", "-r", "http://a/v1#m", "--price", "x=1/2"], /--price: x is none of the models/],
];

for (const [args, says] of refused) {
  Deno.test(`ftl ${args.join(" ")} is refused in one line`, async () => {
    Deno.env.delete("OPENAI_API_KEY");
    await assert.rejects(runCommand("compare", args.slice(1)), (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.equal(error.exitCode, 2);
      assert.match(`${error.message}\n${error.hint}`, says);
      assert.ok(!error.message.includes("pass@"), error.message);
      return true;
    });
  });
}
