/**
 * Energy counters as Linux shows them: summed over packages, carried over their wrap; power as nvidia-smi tells it: summed
 * over cards and time. Null where they are not readable.
 */
import assert from "node:assert/strict";
import { cardEnergy, processorEnergy } from "../../lib/cli/energy.ts";
import { assertClose } from "../helpers/close.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

function writeCounter(folder: string, name: string, microjoules: number): void {
  Deno.mkdirSync(`${folder}/${name}`, { recursive: true });
  Deno.writeTextFileSync(`${folder}/${name}/energy_uj`, `${microjoules}\n`);
  Deno.writeTextFileSync(`${folder}/${name}/max_energy_range_uj`, "10000000\n");
}

Deno.test("processorEnergy() sums whole packages and survives a counter that begins again", async () => {
  await inTempFolder(async (folder) => {
    writeCounter(folder, "intel-rapl:0", 9_000_000);
    writeCounter(folder, "intel-rapl:1", 1_000_000);
    writeCounter(folder, "intel-rapl:0:0", 0);
    const meter = processorEnergy(folder);
    writeCounter(folder, "intel-rapl:0", 500_000);
    writeCounter(folder, "intel-rapl:1", 3_000_000);
    writeCounter(folder, "intel-rapl:0:0", 5_000_000);
    assert.equal(await meter.take(), 1.5 + 2);
    assert.equal(await meter.take(), 0);
    Deno.removeSync(`${folder}/intel-rapl:1/energy_uj`);
    assert.equal(await meter.take(), null);
    meter.close();
  });
});

Deno.test("processorEnergy() says null where the machine tells nothing", async () => {
  assert.equal(await processorEnergy("/nowhere").take(), null);
  await inTempFolder(async (folder) => assert.equal(await processorEnergy(folder).take(), null));
});

/** A clock that a test sets, and what nvidia-smi would print then. */
function scripted() {
  const state = { time: 0, says: "100\n" };
  const ask = () => Promise.resolve(state.says), now = () => state.time;
  return { state, meter: cardEnergy({ ask, now, every: 1e6 }) };
}

Deno.test("cardEnergy() sums the cards and joins their samples by straight lines", async () => {
  const { state, meter } = scripted();
  assert.equal(await meter.take(), 0);
  [state.time, state.says] = [2000, "200.50\n99.50\n"];
  assertClose([(await meter.take())!], [(100 + 300) / 2 * 2], { rtol: 1e-12 });
  [state.time, state.says] = [3000, "0\n0\n"];
  assertClose([(await meter.take())!], [(300 + 0) / 2], { rtol: 1e-12 });
  meter.close();
});

for (const says of ["[N/A]\n", "250.00\n[N/A]\n", "", "[Unknown Error]\n", "ERR!\n", "-5\n"]) {
  Deno.test(`cardEnergy() says null once nvidia-smi says ${JSON.stringify(says)}`, async () => {
    const { state, meter } = scripted();
    await meter.take();
    [state.time, state.says] = [500, says];
    assert.equal(await meter.take(), null);
    [state.time, state.says] = [1000, "100\n"];
    assert.equal(await meter.take(), null, "what was missed is not made up for");
    meter.close();
  });
}

Deno.test("cardEnergy() says null where a sample was late", async () => {
  const { state, meter } = scripted();
  await meter.take();
  state.time = 10_001;
  assert.equal(await meter.take(), null);
  meter.close();
});

Deno.test({
  name: "cardEnergy() asks the nvidia-smi in PATH, and does without one",
  ignore: Deno.build.os === "windows",
  async fn() {
    await inTempFolder(async (folder) => {
      const path = Deno.env.get("PATH")!, asked = `${folder}/asked`;
      Deno.env.set("PATH", folder);
      try {
        const none = cardEnergy();
        assert.equal(await none.take(), null);
        none.close();
        const script = (prints: string, code = 0) =>
          Deno.writeTextFileSync(
            `${folder}/nvidia-smi`,
            `#!/bin/sh\necho "$@" >> ${asked}\n${prints}\nexit ${code}\n`,
            {
              mode: 0o755,
            },
          );
        script('echo "70.25"; echo "29.75"');
        const meter = cardEnergy({ every: 20 }), begun = performance.now();
        await new Promise((resolve) => setTimeout(resolve, 200));
        const joules = (await meter.take())!, most = (performance.now() - begun) / 1000 * 100;
        assert.ok(joules > 5 && joules <= most, `${joules} of at most ${most}`);
        script("echo '[N/A]'");
        assert.equal(await meter.take(), null);
        meter.close();
        script("echo 100; echo 'NVIDIA-SMI has failed'", 9);
        const failing = cardEnergy();
        assert.equal(await failing.take(), null);
        failing.close();
        assert.match(
          Deno.readTextFileSync(asked),
          /^(--query-gpu=power\.draw --format=csv,noheader,nounits\n){3,}$/,
        );
      } finally {
        Deno.env.set("PATH", path);
      }
    });
  },
});
