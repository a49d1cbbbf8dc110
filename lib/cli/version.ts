/** `ftl --version`: which program this is, of which commit, and the engines in it. */
import manifest from "../../deno.json" with { type: "json" };
import { commit } from "../build/commit.ts";
import { version } from "./overview.ts";

export async function showVersion(): Promise<string> {
  const made = await commit();
  const { deno, v8 } = Deno.version;
  return [
    made ? `${version} (commit ${made.id}, ${made.date.slice(0, 10)})` : version,
    `Deno ${deno}, V8 ${v8}, ONNX Runtime ${packageVersion("onnxruntime-node")}, Dawn of webgpu ${
      packageVersion("webgpu")
    }`,
  ].join("\n");
}

/** As the table of imports has it: "npm:webgpu@0.6.2" -> "0.6.2". */
function packageVersion(name: string): string {
  const found = Object.values(manifest.imports).map((one) => new RegExp(`^npm:${name}@([^/]+)`).exec(one)?.[1]);
  return found.find((one) => one !== undefined)!;
}
