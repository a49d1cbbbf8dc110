/** What .ci/run does before the tests: told by its functions on made-up package lists, without installing anything. */
import assert from "node:assert/strict";

const script = new URL("../../.ci/run", import.meta.url).pathname;

async function bash(commands: string): Promise<{ code: number; out: string }> {
  const { code, stdout } = await new Deno.Command("bash", {
    args: ["-c", `. "$1"; set +e; cd /; ${commands}`, "test", script],
    stdout: "piped",
    stderr: "null",
  }).output();
  return { code, out: new TextDecoder().decode(stdout) };
}

const ignore = Deno.build.os !== "linux";

Deno.test({
  name: "major() of .ci/run reads Debian's versions",
  ignore,
  async fn() {
    const { out } = await bash(`for v in 25.0.7-2~bpo12+1 1:22.3.6-1 24 "" "(none)"; do major "$v"; done`);
    assert.deepEqual(out.trim().split("\n"), ["25", "22", "24", "0", "0"]);
  },
});

Deno.test({
  name: "add_backports() of .ci/run takes the mirror, components and key of the system's own packages",
  ignore,
  async fn() {
    const folder = Deno.makeTempDirSync();
    try {
      Deno.writeTextFileSync(
        `${folder}/debian.sources`,
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n" +
          "Signed-By: /a/key.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\n",
      );
      assert.equal((await bash(`add_backports bookworm ${folder}`)).code, 0);
      assert.equal(
        Deno.readTextFileSync(`${folder}/ftl-backports.sources`),
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\nComponents: main\n" +
          "Signed-By: /a/key.gpg\n",
      );
      Deno.removeSync(`${folder}/debian.sources`);
      Deno.writeTextFileSync(
        `${folder}/list`,
        "# deb http://other.example/debian bookworm main\ndeb http://security.example/ bookworm-security main\n" +
          "deb [arch=amd64] http://mirror.example/debian bookworm main contrib\n",
      );
      assert.equal((await bash(`add_backports bookworm ${folder} ${folder}/list`)).code, 0);
      assert.equal(
        Deno.readTextFileSync(`${folder}/ftl-backports.list`),
        "deb [arch=amd64] http://mirror.example/debian bookworm-backports main contrib\n",
      );
      assert.notEqual((await bash(`add_backports trixie ${folder} ${folder}/list`)).code, 0);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "has_shells() of .ci/run wants all of them",
  ignore,
  async fn() {
    const folder = Deno.makeTempDirSync();
    try {
      for (const shell of ["bash", "zsh", "fish", "busybox", "mksh", "bsdtar"]) {
        assert.notEqual((await bash(`PATH=${folder}; has_shells`)).code, 0);
        Deno.writeTextFileSync(`${folder}/${shell}`, "#!/bin/sh\n", { mode: 0o755 });
      }
      assert.equal((await bash(`PATH=${folder}; has_shells`)).code, 0);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "has_chromium() of .ci/run looks for any of its names",
  ignore,
  async fn() {
    const folder = Deno.makeTempDirSync();
    try {
      assert.notEqual((await bash(`PATH=${folder}; has_chromium`)).code, 0);
      Deno.writeTextFileSync(`${folder}/google-chrome`, "#!/bin/sh\n", { mode: 0o755 });
      assert.equal((await bash(`PATH=${folder}; has_chromium`)).code, 0);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
