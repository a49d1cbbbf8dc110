/**
 * Answers that must follow a grammar: a JSON schema, or calls of functions. The grammars are xgrammar's (WebAssembly);
 * here it is loaded, fed with the model's vocabulary as bytes, and asked which tokens may come next.
 *
 * A grammar it cannot read aborts the whole instance, so that one is thrown away and the next request gets another.
 */
import source from "@mlc-ai/web-xgrammar/lib/index.js" with { type: "text" };
import type * as Xgrammar from "@mlc-ai/web-xgrammar";
import type { Tokenizer } from "../text/tokenizer.ts";
import { ApiError } from "./api_error.ts";
import type { TokenConstraint } from "./engine.ts";
import { toolMarks } from "./tool_formats.ts";

export type GrammarSpec =
  | { kind: "json"; schema: Record<string, unknown> }
  /** Text around JSON, in xgrammar's own description of it. */
  | { kind: "tags"; format: Xgrammar.StructuralTagFormat };

export interface Grammars {
  /** A constraint for one answer. `param` names the field that asked for it. Errors: ApiError. */
  constraint(spec: GrammarSpec, param: string): Promise<TokenConstraint>;
}

/** Grammars kept ready; a request's schema is mostly the last one's. */
const kept = 16;
/** Tokens of white space in a row, of which models can write endlessly many where JSON allows them. */
const blankTokens = 4;

type Library = Pick<typeof Xgrammar, "TokenizerInfo" | "GrammarCompiler" | "GrammarMatcher">;

interface Instance {
  library: Library;
  compiler: Xgrammar.GrammarCompiler;
  /** What it last complained of. */
  complaints: string[];
  compiled: Map<string, Xgrammar.CompiledGrammar>;
}

export function createGrammars(tokenizer: Tokenizer): Grammars {
  let instance: Promise<Instance> | undefined;
  let blanks: Uint32Array | undefined;

  async function compile(spec: GrammarSpec, param: string) {
    const { compiled, compiler, complaints, library } = await (instance ??= load(tokenizer));
    const key = JSON.stringify(spec);
    const known = compiled.get(key);
    if (known) return { library, grammar: known };
    complaints.length = 0;
    try {
      const grammar = spec.kind === "json"
        ? await compiler.compileJSONSchema(JSON.stringify(spec.schema), true, undefined, undefined, false)
        : await compiler.compileStructuralTag({ type: "structural_tag", format: spec.format });
      for (const [oldest, old] of compiled) {
        if (compiled.size < kept) break;
        compiled.delete(oldest);
        old.dispose();
      }
      compiled.set(key, grammar);
      return { library, grammar };
    } catch {
      instance = undefined;
      const why = complaints.find((line) => line.startsWith("["))?.replace(/^\[\w+\] \S+:\d+: /, "").slice(0, 300);
      throw new ApiError(400, `${param}: the schema cannot be made a grammar${why ? `: ${why}` : ""}`, {
        param,
        code: "invalid_json_schema",
      });
    }
  }

  return {
    async constraint(spec, param) {
      if (tokenizer.eosIds.length === 0) {
        throw new ApiError(400, `${param}: this model has no token that ends an answer`, { param });
      }
      const { library, grammar } = await compile(spec, param);
      const matcher = await library.GrammarMatcher.createGrammarMatcher(grammar);
      blanks ??= maskOf(tokenizer.vocabSize, (id) => /^[ \t\r\n]+$/.test(latin1(tokenizer.bytesOf(id))));
      return followMatcher(matcher, { ends: tokenizer.eosIds, vocabSize: tokenizer.vocabSize, blanks });
    },
  };
}

/** An instance of the library over this vocabulary. Marks that are no text are in no grammar. */
async function load(tokenizer: Tokenizer): Promise<Instance> {
  const complaints: string[] = [];
  const library = evaluate((...parts) => complaints.push(parts.join(" ")));
  const marks = new Set(toolMarks.map((mark) => tokenizer.idOf(mark)));
  const vocabulary = Array.from(
    { length: tokenizer.vocabSize },
    (_, id) => tokenizer.isSpecial(id) && !marks.has(id) ? new Uint8Array() : tokenizer.bytesOf(id),
  );
  const info = await library.TokenizerInfo.createTokenizerInfo(
    // Bytes are taken where texts are, and need not be UTF-8.
    vocabulary as unknown as string[],
    "raw",
    false,
    tokenizer.vocabSize,
    tokenizer.eosIds,
  );
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
  return { library, compiler, complaints, compiled: new Map() };
}

/**
 * The library's module, a script for browsers and Node with its WebAssembly inside. Run as a function it gets its own
 * exports, and neither Node's process nor the console: it would add handlers to the one and print to the other.
 */
function evaluate(say: (...parts: unknown[]) => void): Library {
  const exports = {} as Library;
  const names = ["exports", "module", "process", "window", "importScripts", "document", "console"];
  const page = { currentScript: null, baseURI: "file:///" };
  new Function(...names, source)(exports, {}, undefined, undefined, undefined, page, {
    log: say,
    warn: say,
    error: say,
  });
  return exports;
}

function followMatcher(
  matcher: Xgrammar.GrammarMatcher,
  { ends, vocabSize, blanks }: { ends: number[]; vocabSize: number; blanks: Uint32Array },
): TokenConstraint {
  let blankRun = 0, disposed = false;
  let mask: Uint32Array | undefined;
  const has = (bits: Uint32Array, token: number) => (bits[token >> 5] >>> (token & 31) & 1) === 1;
  /** Asked for ahead of time: the library's own copy of the mask is faster than reading it number by number. */
  function askAhead(): void {
    mask = undefined;
    const asked = ++turn;
    matcher.getNextTokenBitmask().then(
      (bits) => {
        if (asked === turn && !disposed) mask = new Uint32Array(bits.buffer, bits.byteOffset, bits.length);
      },
      () => {},
    );
  }
  let turn = 0;
  askAhead();
  const next = () => mask ??= readMask(matcher, vocabSize);

  return {
    allowed() {
      if (disposed || matcher.isTerminated()) return null;
      const bits = next();
      if (blankRun < blankTokens) return bits;
      const narrow = bits.map((word, i) => word & ~blanks[i]);
      return narrow.some((word) => word !== 0) ? narrow : bits;
    },
    accept(token) {
      if (disposed || matcher.isTerminated()) return;
      blankRun = has(blanks, token) ? blankRun + 1 : 0;
      if (!matcher.acceptToken(token)) throw new Error(`token ${token} is not in the grammar`);
      if (matcher.isTerminated()) turn++;
      else askAhead();
    },
    done: () => disposed || matcher.isTerminated() || ends.some((end) => has(next(), end)),
    dispose() {
      if (disposed) return;
      disposed = true;
      matcher.dispose();
    },
  };
}

/** The mask at once. The library's typed call for it waits, so this reads its vector of numbers. */
function readMask(matcher: Xgrammar.GrammarMatcher, vocabSize: number): Uint32Array {
  type Vector = { size(): number; get(index: number): number; delete(): void };
  const { handle } = matcher as unknown as { handle: { GetNextTokenBitmask(vocabSize: number): Vector } };
  const vector = handle.GetNextTokenBitmask(vocabSize);
  const bits = Uint32Array.from({ length: vector.size() }, (_, i) => vector.get(i));
  vector.delete();
  return bits;
}

function maskOf(vocabSize: number, wanted: (id: number) => boolean): Uint32Array {
  const bits = new Uint32Array(Math.ceil(vocabSize / 32));
  for (let id = 0; id < vocabSize; id++) if (wanted(id)) bits[id >> 5] |= 1 << (id & 31);
  return bits;
}

function latin1(bytes: Uint8Array): string {
  return bytes.length > 64 ? "" : String.fromCharCode(...bytes);
}
