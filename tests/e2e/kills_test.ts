/**
 * A few kills at random moments; tests/bench/kill_runs.ts does hundreds. Experiments are killed in
 * tests/cli/experiment_test.ts.
 */
import { inWorkplace } from "../helpers/ftl.ts";
import { exporting, killAgainAndAgain, measure, randomNumbers, training } from "../helpers/kill_harness.ts";

Deno.test({
  name: "a training and an export that are killed at random moments come to the bits of those left alone",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inWorkplace(async (place) => {
      const seed = Math.floor(Math.random() * 1e6), random = randomNumbers(seed);
      try {
        const make = [
          (name: string) => training(place, { name: `run-${name}`, saveSteps: 1 }),
          (name: string) => exporting(place, { run: "run-whole", name: `export-${name}` }),
        ];
        for (const victim of make) {
          const whole = victim("whole"), usual = await measure(whole, place), expected = whole.outcome();
          await killAgainAndAgain(victim("killed"), place, { times: 5, random, usual, expected });
        }
      } catch (error) {
        console.log(`seed ${seed}`);
        throw error;
      }
    }),
});
