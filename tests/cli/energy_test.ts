/** Energy counters as Linux shows them: summed over packages, carried over their wrap, null where they are not readable. */
import assert from "node:assert/strict";
import { energyMeter } from "../../lib/cli/energy.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

function writeCounter(folder: string, name: string, microjoules: number): void {
  Deno.mkdirSync(`${folder}/${name}`, { recursive: true });
  Deno.writeTextFileSync(`${folder}/${name}/energy_uj`, `${microjoules}\n`);
  Deno.writeTextFileSync(`${folder}/${name}/max_energy_range_uj`, "10000000\n");
}

Deno.test("energyMeter() sums whole packages and survives a counter that begins again", async () => {
  await inTempFolder((folder) => {
    writeCounter(folder, "intel-rapl:0", 9_000_000);
    writeCounter(folder, "intel-rapl:1", 1_000_000);
    writeCounter(folder, "intel-rapl:0:0", 0);
    const meter = energyMeter(folder);
    writeCounter(folder, "intel-rapl:0", 500_000);
    writeCounter(folder, "intel-rapl:1", 3_000_000);
    writeCounter(folder, "intel-rapl:0:0", 5_000_000);
    assert.equal(meter.take(), 1.5 + 2);
    assert.equal(meter.take(), 0);
    Deno.removeSync(`${folder}/intel-rapl:1/energy_uj`);
    assert.equal(meter.take(), null);
    meter.close();
  });
});

Deno.test("energyMeter() says null where the machine tells nothing", async () => {
  assert.equal(energyMeter("/nowhere").take(), null);
  await inTempFolder((folder) => assert.equal(energyMeter(folder).take(), null));
});
