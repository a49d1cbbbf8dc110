/**
 * The one file for Linux arm64, run on a Linux x64 by qemu, in a Debian whose shell, tar and libraries are arm64's too:
 *
 *   apt-get install mmdebstrap qemu-user-static    # of Debian 12, from its backports: qemu 10
 *   deno task build --target linux-arm64
 *   deno run -A tests/platforms/linux_arm64.ts ftl-linux-arm64
 *
 * As root. Takes some minutes, so it is no part of deno task test. qemu 7.2 shows programs the host's /proc/cpuinfo, in
 * which ONNX Runtime's cpuinfo finds no Arm processor and then reads address 0 while its library is being loaded:
 * qemu-aarch64-static -L ROOT -E LD_PRELOAD=.../libonnxruntime.so.1 ROOT/usr/bin/true. qemu 10 shows Arm's.
 */
import assert from "node:assert/strict";
import { chores, lay } from "./chores.ts";

const packages = ["libc6", "libstdc++6", "libgcc-s1", "coreutils", "dash", "tar", "gzip"];

/** In a namespace of its own, so that nothing on the machine changes: arm64's programs are qemu's, the root is $1. */
const enter = `set -e
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
echo ":ftl-arm64:M::\\\\x7fELF\\\\x02\\\\x01\\\\x01\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x02\\\\x00\\\\xb7\\\\x00:\
\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\x00\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xfe\\\\xff\\\\xff\\\\xff:$2:F" \
> /proc/sys/fs/binfmt_misc/register
for folder in proc sys dev; do mount --rbind "/$folder" "$1/$folder"; done
root=$1; shift 2
exec env -i PATH=/usr/bin:/bin HOME=/root QEMU_CPU=neoverse-n1 /usr/sbin/chroot "$root" /bin/sh -c 'cd /desk && exec ./ftl "$@"' sh "$@"
`;

function run(program: string, args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command(program, { args }).outputSync();
  assert.ok(success, `${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}

async function main(file: string): Promise<void> {
  const qemu = run("sh", ["-c", "command -v qemu-aarch64-static || command -v qemu-aarch64"]);
  const root = Deno.makeTempDirSync();
  try {
    // This machine's Debian, from where its own packages come.
    const [mirror, suite] = run("apt-get", [
      "indextargets",
      "--format",
      "$(REPO_URI) $(RELEASE)",
      "Created-By: Packages",
    ])
      .split("\n").find((line) => /\/debian\/? \w+$/.test(line))!.split(" ");
    run("mmdebstrap", [
      ...["--quiet", "--variant=extract", "--arch=arm64", `--include=${packages.join()}`, suite, root, mirror],
    ]);
    for (const folder of ["proc", "sys", "dev", "root", "desk"]) {
      Deno.mkdirSync(`${root}/${folder}`, { recursive: true });
    }
    for (const name of ["bin", "lib"]) {
      if (!exists(`${root}/${name}`)) Deno.symlinkSync(`usr/${name}`, `${root}/${name}`);
    }
    lay(`${root}/desk`);
    Deno.copyFileSync(file, `${root}/desk/ftl`);
    const namespace = ["--user", "--map-root-user", "--mount", "sh", "-c", enter, "sh", root, qemu];
    await chores((args) =>
      new Deno.Command("unshare", { args: [...namespace, ...args], stdin: "null", stdout: "piped", stderr: "piped" })
    );
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

function exists(path: string): boolean {
  try {
    return Deno.lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

if (import.meta.main) await main(Deno.args[0]);
