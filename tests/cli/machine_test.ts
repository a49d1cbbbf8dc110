/** A container's limits, as control groups of both versions write them, and the room on a disk. */
import assert from "node:assert/strict";
import { cgroupLimit, freeDisk, machineMemory, processor } from "../../lib/cli/machine.ts";

const GiB = 2 ** 30;

/** What files say, by path; others are not there. */
const reader = (files: Record<string, string>) => (path: string) => {
  if (!Object.hasOwn(files, path)) throw new Deno.errors.NotFound(path);
  return files[path] + "\n";
};

const cases: [string, Record<string, string>, { bytes: number; used: number } | undefined][] = [
  ["no control groups", {}, undefined],
  ["version 2 without a limit", {
    "/proc/self/cgroup": "0::/",
    "/sys/fs/cgroup/memory.max": "max",
    "/sys/fs/cgroup/memory.current": "5",
  }, undefined],
  ["a container of version 2, whose group is the root it sees", {
    "/proc/self/cgroup": "0::/",
    "/sys/fs/cgroup/memory.max": String(8 * GiB),
    "/sys/fs/cgroup/memory.current": String(GiB),
  }, { bytes: 8 * GiB, used: GiB }],
  ["a service below a slice with less", {
    "/proc/self/cgroup": "0::/some.slice/ftl.service",
    "/sys/fs/cgroup/some.slice/memory.max": String(4 * GiB),
    "/sys/fs/cgroup/some.slice/ftl.service/memory.max": String(6 * GiB),
  }, { bytes: 4 * GiB, used: 0 }],
  ["version 1, by the path and at the root", {
    "/proc/self/cgroup": "4:memory:/docker/abc\n0::/",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": String(2 * GiB),
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": "7",
    "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712",
  }, { bytes: 2 * GiB, used: 7 }],
];

for (const [what, files, expected] of cases) {
  Deno.test({
    name: `cgroupLimit() of ${what}`,
    ignore: Deno.build.os !== "linux",
    fn: () => assert.deepEqual(cgroupLimit(reader(files)), expected),
  });
}

Deno.test("machineMemory(), processor() and freeDisk() say something possible of this machine", () => {
  const { total, available } = machineMemory(), { total: physical } = Deno.systemMemoryInfo();
  assert.ok(total > 0 && total <= physical && available >= 0 && available <= total);
  assert.ok(processor().cores >= 1);
  const folder = Deno.makeTempDirSync(), below = `${folder}/not/there/yet`;
  const free = freeDisk(folder)!, later = freeDisk(below)!;
  Deno.removeSync(folder, { recursive: true });
  assert.ok(free > 0 && Math.abs(later / free - 1) < 0.5, `${free}, ${later}`);
});

Deno.test("machineMemory() takes what Windows calls free, where Deno leaves the available memory 0", () => {
  const gigabytes = (total: number, free: number, available: number) => ({
    total,
    free,
    available,
    buffers: 0,
    cached: 0,
    swapTotal: 0,
    swapFree: 0,
  });
  // Less than any container that tests run in would allow.
  const windows = machineMemory(gigabytes(2 ** 26, 2 ** 25, 0)), linux = machineMemory(gigabytes(2 ** 26, 1, 2 ** 24));
  assert.deepEqual([windows.available, linux.available], [2 ** 25, 2 ** 24]);
});
