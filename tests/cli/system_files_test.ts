/** What the system tells of the machine is known to a command that has given up the network. */
import assert from "node:assert/strict";
import { cgroupLimit, processor } from "../../lib/cli/machine.ts";
import { systemCounter, systemNames, systemText } from "../../lib/cli/system_files.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const at = (file: string) => new URL(`../../lib/cli/${file}`, import.meta.url).href;
const linux = Deno.build.os === "linux";

Deno.test({
  name: "a command without network knows of graphics devices, a container's limit and the processor",
  ignore: !linux,
  async fn() {
    const script = `
      import { limitNetwork } from "${at("network.ts")}";
      import { cgroupLimit, processor } from "${at("machine.ts")}";
      import { systemNames } from "${at("system_files.ts")}";
      await limitNetwork("doctor", []);
      let refused = false;
      try {
        Deno.readDirSync("/dev");
      } catch {
        refused = true;
      }
      const { vectors } = processor();
      console.log(JSON.stringify({ refused, devices: systemNames("/dev"), limit: cgroupLimit()?.bytes, vectors }));`;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", script],
      ...{ stdout: "piped", stderr: "piped" },
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.ok(text, new TextDecoder().decode(stderr));
    const { refused, devices, limit, vectors } = JSON.parse(text);
    assert.ok(refused, "without the network Deno shows no system's files; where it does, none need be remembered");
    assert.deepEqual(devices.toSorted(), [...Deno.readDirSync("/dev")].map(({ name }) => name).sort());
    assert.equal(limit, cgroupLimit()?.bytes);
    assert.deepEqual(vectors, processor().vectors);
  },
});

Deno.test({
  name: "a counter of the system is read anew, from the file that was opened first",
  ignore: !linux,
  fn() {
    const path = "/proc/sys/kernel/random/entropy_avail", once = systemCounter(path);
    assert.ok(once !== null && once > 0, String(once));
    assert.equal(systemText("/proc/sys/kernel/ostype"), "Linux\n");
    const [first, second] = [systemText("/proc/uptime"), systemText("/proc/uptime")];
    assert.equal(first, second, "a text is remembered");
  },
});

Deno.test("files that are not the system's are read as they are", async () => {
  await inTempFolder((folder) => {
    const path = `${folder}/counter`;
    for (const value of [1, 22]) {
      Deno.writeTextFileSync(path, `${value}\n`);
      assert.equal(systemCounter(path), value);
      assert.equal(systemText(path), `${value}\n`);
    }
    assert.deepEqual(systemNames(folder), ["counter"]);
    assert.deepEqual(systemNames(`${folder}/none`), []);
    assert.equal(systemCounter(`${folder}/none`), null);
  });
});
