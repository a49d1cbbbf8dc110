/**
 * Everything that the program is made of, with its licence: the npm packages that main.ts reaches, the engines inside
 * them, Deno, and ftl itself. `ftl licenses` and the bill of materials are made from it.
 */
import { join } from "node:path";
import manifest from "../../deno.json" with { type: "json" };
import { platforms, runDeno } from "./platforms.ts";

export interface Component {
  name: string;
  version: string;
  /** SPDX identifier or expression. */
  licence: string;
  /** https://github.com/package-url/purl-spec */
  purl?: string;
  /** As npm has it: "sha512-" and base64 of the package's archive. */
  integrity?: string;
  /** Names with versions of the components it needs. */
  needs: string[];
  /** Licence and notices. */
  text: string;
}

/** "zod@4.6.7" */
export const idOf = ({ name, version }: Pick<Component, "name" | "version">) => `${name}@${version}`;

const root = new URL("../..", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFileSync(join(root, path));
const notice = (name: string) => read(`lib/build/notices/${name}.txt`);

/** Of this checkout. `inside` says which npm packages a bundle holds; without it all count that main.ts can reach. */
export async function inventory(inside: (id: string) => boolean = () => true): Promise<Component[]> {
  const packages = await npmPackages();
  return [...ownComponents(), ...denoComponents(), ...packages.filter((one) => inside(idOf(one)))];
}

function ownComponents(): Component[] {
  const { version, license: licence } = manifest;
  return [
    { name: "ftl", version, licence, needs: [], text: read("LICENSE") },
    {
      name: "ftl sample rows",
      version,
      licence: "CC0-1.0 OR Apache-2.0",
      needs: [],
      text: read("data/README.md").split("\n\n").slice(0, 2).join("\n\n"),
    },
  ];
}

function denoComponents(): Component[] {
  const { deno, v8 } = Deno.version;
  const crates = "The Rust crates that Deno is built from, with their licences, are those of Cargo.lock in its\n" +
    `repository at v${deno}: https://github.com/denoland/deno\n`;
  return [
    {
      name: "Deno",
      version: deno,
      licence: "MIT",
      purl: `pkg:github/denoland/deno@v${deno}`,
      needs: [`V8@${v8}`],
      text: `${notice("deno")}\n${crates}`,
    },
    { name: "V8", version: v8, licence: "BSD-3-Clause", needs: [], text: notice("v8") },
  ];
}

/** What `deno info` says of a program's modules and packages; no more of it than is read here. */
interface Graph {
  modules: { npmPackage?: string }[];
  npmPackages: Record<string, { name: string; version: string; dependencies: string[]; localPath: string }>;
}

async function npmPackages(): Promise<Component[]> {
  const locked: Record<string, { integrity?: string }> = JSON.parse(read("deno.lock")).npm;
  const { modules, npmPackages }: Graph = JSON.parse(await runDeno(["info", "--json", "main.ts"]));
  const reached = new Set<string>();
  const reach = (key: string) => {
    if (reached.has(key)) return;
    reached.add(key);
    npmPackages[key].dependencies.forEach(reach);
  };
  for (const { npmPackage } of modules) if (npmPackage) reach(npmPackage);
  return [...reached].sort().map((key) => {
    const { name, version, dependencies, localPath } = npmPackages[key];
    const licence: string = JSON.parse(Deno.readTextFileSync(join(localPath, "package.json"))).license;
    return {
      name,
      version,
      licence: name === "webgpu" ? `${licence} AND BSD-3-Clause` : licence,
      purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
      integrity: locked[key]?.integrity,
      needs: dependencies.map((one) => idOf(npmPackages[one])).sort(),
      text: textOf({ name, licence, folder: localPath }),
    };
  });
}

/** The licences and notices in a package's folder, else the text that its manifest's identifier stands for. */
function textOf({ name, licence, folder }: { name: string; licence: string; folder: string }): string {
  if (name.startsWith("onnxruntime-")) return `${notice("onnxruntime")}\n${notice("onnxruntime_third_party")}`;
  const files = [...Deno.readDirSync(folder)].map((entry) => entry.name)
    .filter((file) => /^(un)?(licen[cs]e|copying|notice)/i.test(file)).sort();
  if (name === "webgpu") files.push(...compilerLicences(folder));
  if (files.length > 0) {
    return files.map((file) => Deno.readTextFileSync(join(folder, file)).replaceAll("\r", "")).join("\n\n");
  }
  const standard = {
    "MIT": notice("deno").replace(/^Copyright.*$/m, `Copyright the authors of ${name}`),
    "Apache-2.0": read("LICENSE"),
    "MPL-2.0": `The source of ${name} is at https://www.npmjs.com/package/${name}\n\n${notice("mpl2")}`,
  };
  return standard[licence as keyof typeof standard] ?? "";
}

/** Of the shader compilers beside Dawn on Windows. */
function compilerLicences(folder: string): string[] {
  return Object.values(platforms).filter(({ dawn }) => dawn === "dist/win32-x64").flatMap(({ dawn }) =>
    [...Deno.readDirSync(join(folder, dawn))].map((entry) => `${dawn}/${entry.name}`).filter((file) =>
      /\.txt$/i.test(file)
    ).sort()
  );
}
