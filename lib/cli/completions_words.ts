/** What a shell has to know to complete ftl's command line, from the tables that --help is made of. */
import { type CommandShape, placeholder, type Slot } from "./command_line.ts";
import type { CommandName, OptionSpec } from "./option_spec.ts";
import { flagOf, optionsOf } from "./options.ts";
import { summaries } from "./overview.ts";

export interface Completed {
  commands: CompletedCommand[];
  /** Models known by a short name. */
  models: string[];
}

export interface CompletedCommand {
  name: CommandName;
  what: string;
  flags: CompletedFlag[];
  /** By position; the last one holds for all that follow, and has nothing where nothing may follow. */
  takes: Slot[];
}

export interface CompletedFlag {
  /** "-m" and "--model" */
  names: string[];
  what: string;
  /** Null for a switch. */
  value: (Slot & { placeholder: string; isList: boolean }) | null;
  mayRepeat: boolean;
}

/** What an option's placeholder asks for. */
const kindOf: Record<string, NonNullable<Slot["kinds"]>[number]> = {
  "name|path": "model",
  "file": "file",
  "price|file": "file",
  "folder": "folder",
  "run folder": "run",
};

export function completed(shapes: CommandShape[], { models }: { models: string[] }): Completed {
  return {
    models,
    commands: shapes.map(({ name, most, takes }) => ({
      name,
      what: summaries[name],
      flags: [
        ...optionsOf(name).flatMap(([option, spec]) => flagsOf(option, spec)),
        { names: ["-h", "--help"], what: "show this help", value: null, mayRepeat: false },
      ],
      takes: takes.length < most ? takes : [...takes, {}],
    })),
  };
}

function flagsOf(name: string, spec: OptionSpec): CompletedFlag[] {
  const names = [...spec.short ? [`-${spec.short}`] : [], flagOf(name)];
  if (spec.type !== "boolean") {
    const asked = placeholder(spec);
    const words = spec.type === "choice" || spec.type === "list" ? spec.choices : undefined;
    const kinds = kindOf[asked] ? [kindOf[asked]] : undefined;
    const value = { words, kinds, placeholder: asked, isList: spec.type === "list" };
    return [{ names, what: spec.help, value, mayRepeat: spec.type === "texts" }];
  }
  // A switch that is on is only ever turned off.
  const shown = spec.default ? [`--no-${flagOf(name).slice(2)}`] : names;
  return [{ names: shown, what: spec.default ? `not: ${spec.help}` : spec.help, value: null, mayRepeat: false }];
}
