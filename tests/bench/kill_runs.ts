/**
 * Kills trainings, exports and experiments at random moments, hundreds of times, and tells whether each came to the bits
 * of one left alone: `deno run -A tests/bench/kill_runs.ts [kills] [seed]`. About 200 kills take ten minutes of two cores.
 */
import {
  experimenting,
  exporting,
  killAgainAndAgain,
  measure,
  randomNumbers,
  training,
  type Victim,
} from "../helpers/kill_harness.ts";
import { inWorkplace } from "../helpers/ftl.ts";

const [kills = "200", seed = String(Date.now() % 1e6)] = Deno.args;
const random = randomNumbers(Number(seed));
console.log(`${kills} kills, seed ${seed}`);

await inWorkplace(async (place) => {
  /** Share of the kills, kills until it may come to its end, and a new one by its number. */
  const kinds: { what: string; share: number; chain: number; make: (n: number | "whole") => Victim }[] = [
    {
      what: "training, a checkpoint every step",
      share: 0.4,
      chain: 10,
      make: (n) => training(place, { name: `each-${n}`, saveSteps: 1 }),
    },
    {
      what: "training with evaluations and early stopping, a checkpoint every 3 steps",
      share: 0.25,
      chain: 10,
      make: (n) =>
        training(place, {
          name: `third-${n}`,
          saveSteps: 3,
          more: ["--eval-split", "0.34", "--eval-steps", "2", "--early-stopping-patience", "9"],
        }),
    },
    {
      what: "export in four forms",
      share: 0.25,
      chain: 10,
      make: (n) => exporting(place, { run: "each-whole", name: `export-${n}` }),
    },
    { what: "experiment", share: 0.1, chain: 10, make: (n) => experimenting(place, { name: `experiment-${n}` }) },
  ];
  let all = 0, failures = 0;
  for (const { what, share, chain, make } of kinds) {
    const whole = make("whole"), usual = await measure(whole, place), expected = whole.outcome();
    const wanted = Math.round(share * Number(kills));
    let killed = 0, ended = 0, same = 0, n = 0;
    while (killed < wanted && failures < 5) {
      const victim = make(n++);
      try {
        const times = Math.min(chain, wanted - killed);
        const found = await killAgainAndAgain(victim, place, { times, random, usual, expected });
        killed += found.kills;
        ended += found.ended;
        same++;
      } catch (error) {
        failures++;
        console.log(`FAILED ${victim.name}: ${(error as Error).message.slice(0, 3000)}`);
      }
      if (victim !== whole) Deno.removeSync(victim.folder, { recursive: true });
    }
    all += killed;
    console.log(
      `${what}: ${killed} kills (${ended} came too late) in ${n} runs of ${usual.seconds.toFixed(1)} s, ` +
        `${same} with the bits of one left alone`,
    );
  }
  console.log(`${all} kills, ${failures} failures`);
  if (failures > 0) Deno.exitCode = 1;
});
