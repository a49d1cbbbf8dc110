/**
 * What an option may be, and a maker for each type, so that a row of the table in options.ts reads: name, help, what it
 * may be.
 */

export type CommandName =
  | "train"
  | "data"
  | "plan"
  | "pull"
  | "run"
  | "serve"
  | "export"
  | "eval"
  | "compare"
  | "models"
  | "experiment"
  | "report"
  | "doctor"
  | "licenses"
  | "completions"
  | "man";

interface Common {
  commands: readonly CommandName[];
  group: string;
  /** One line, without the default, which is added. */
  help: string;
  short?: string;
  /** What is otherwise in single commands. */
  differs?: Partial<
    Record<CommandName, { help?: string; group?: string; default?: boolean | number | readonly string[] }>
  >;
}

export type OptionSpec =
  & Common
  & (
    | { type: "string"; default: string | null; placeholder: string }
    | { type: "boolean"; default: boolean }
    | { type: "integer" | "number"; default: number; min?: number; max?: number }
    /** A number, or a word that stands for one chosen later. */
    | { type: "number or auto"; default: number | "auto"; min?: number; max?: number; unit?: string }
    | { type: "choice"; default: string; choices: readonly string[] }
    | { type: "list"; default: readonly string[]; choices: readonly string[] }
    /** A text that may be given several times. */
    | { type: "texts"; default: readonly string[]; placeholder: string }
  );

export const text = <const T extends object>(help: string, rest: T) => ({ type: "string", help, ...rest } as const);
export const texts = <const T extends object>(help: string, rest: T) => ({ type: "texts", help, ...rest } as const);
export const yesNo = <const T extends object>(help: string, rest: T) => ({ type: "boolean", help, ...rest } as const);
export const integer = <const T extends object>(help: string, rest: T) => ({ type: "integer", help, ...rest } as const);
export const number = <const T extends object>(help: string, rest: T) => ({ type: "number", help, ...rest } as const);
export const choice = <const T extends object>(help: string, rest: T) => ({ type: "choice", help, ...rest } as const);
export const list = <const T extends object>(help: string, rest: T) => ({ type: "list", help, ...rest } as const);
export const numberOrAuto = <const T extends object>(help: string, rest: T) =>
  ({ type: "number or auto", help, ...rest }) as const;
