/**
 * The thread of grammars.ts: xgrammar (WebAssembly) compiles grammars here and follows answers, either of which may take
 * long while other answers go on. Run from its text, so that it needs no file of its own beside a bundled program.
 *
 * In, one after the other: `open` with the library and the vocabulary; `start` an answer by a grammar; `accept` a token of
 * it; `end` it. Out, for each start and accept: the answer's `id` with `mask`, the tokens that may come next (null: the
 * answer has ended), or with `error`.
 */
let opened, instance;
let work = Promise.resolve();
/** By answer: its matcher. */
const matchers = new Map();
/** Grammars kept ready; a request's schema is mostly the last one's. */
const kept = 16;

self.onmessage = ({ data }) => {
  work = work.then(() => handle(data)).catch((error) => self.postMessage({ id: data.id, error: String(error) }));
};

async function handle({ kind, id, ...rest }) {
  if (kind === "open") {
    opened = rest;
    return;
  }
  if (kind === "end") {
    matchers.get(id)?.dispose();
    matchers.delete(id);
    return;
  }
  if (kind === "start") {
    const { library, grammar } = await compile(rest.spec);
    matchers.set(id, await library.GrammarMatcher.createGrammarMatcher(grammar));
  } else if (!matchers.get(id).acceptToken(rest.token)) {
    throw new Error(`token ${rest.token} is not in the grammar`);
  }
  const matcher = matchers.get(id);
  if (matcher.isTerminated()) return self.postMessage({ id, mask: null });
  const bits = await matcher.getNextTokenBitmask();
  const mask = new Uint32Array(bits.buffer.slice(bits.byteOffset, bits.byteOffset + bits.byteLength));
  // The bits behind the last token mean nothing, but a model may have logits there.
  const last = opened.ends.length & 31;
  if (last > 0) mask[mask.length - 1] &= (1 << last) - 1;
  self.postMessage({ id, mask }, [mask.buffer]);
}

/** A grammar that cannot be read aborts its instance of the library: it is left to its answers, and the next gets another. */
async function compile(spec) {
  const { library, compiler, complaints, compiled } = instance ??= await load();
  const key = JSON.stringify(spec), known = compiled.get(key);
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
    const why = complaints.find((line) => line.startsWith("["));
    throw why?.replace(/^\[\w+\] \S+:\d+: /, "").slice(0, 300) ?? "";
  }
}

async function load() {
  const complaints = [], library = evaluate((...parts) => complaints.push(parts.join(" ")));
  const { bytes, ends, stops } = opened;
  // Bytes are taken where texts are, and need not be UTF-8.
  const vocabulary = Array.from(ends, (end, id) => bytes.subarray(id === 0 ? 0 : ends[id - 1], end));
  const info = await library.TokenizerInfo.createTokenizerInfo(vocabulary, "raw", false, ends.length, stops);
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
  return { library, compiler, complaints, compiled: new Map() };
}

/**
 * The library's module, a script for browsers and Node with its WebAssembly inside. Run as a function it gets its own
 * exports, and neither Node's process nor the console: it would add handlers to the one and print to the other.
 */
function evaluate(say) {
  const exports = {};
  const names = ["exports", "module", "process", "window", "importScripts", "document", "console"];
  const page = { currentScript: null, baseURI: "file:///" };
  const speaker = { log: say, warn: say, error: say };
  new Function(...names, opened.library)(exports, {}, undefined, undefined, undefined, page, speaker);
  return exports;
}
