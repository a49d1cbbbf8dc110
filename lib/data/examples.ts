/**
 * Many rows as tokens, compactly: the ids of all rows one behind the other in a few large arrays, five bytes a token, and
 * for each row where it begins. Rows handed out are views, so that a hundred thousand of them cost no objects.
 */

/** One row as tokens, n of them. */
export interface Example {
  /** [n] token ids, BOS and EOS included. */
  tokens: Int32Array;
  /** [n] 1 where the token counts in the loss as a target; targets[0] is always 0, since nothing predicts it. */
  targets: Uint8Array;
}

/** A list of examples that makes each when it is asked for. */
export interface Examples {
  readonly length: number;
  at(index: number): Example;
  /** Tokens of the row at `index`. */
  lengthAt(index: number): number;
}

export interface ExampleStore extends Examples {
  /** Adds a row behind the last; one without tokens keeps its place for a row that cannot be used. */
  add(example: Example): void;
}

const chunkTokens = 1 << 20;

export function makeExampleStore(): ExampleStore {
  const chunks: { tokens: Int32Array; targets: Uint8Array; used: number }[] = [];
  let count = 0;
  /** Of each row: its chunk, its first token there, its number of tokens. */
  let index = new Uint32Array(3 * 1024);
  return {
    get length() {
      return count;
    },
    add({ tokens, targets }) {
      const { length } = tokens;
      let chunk = chunks.at(-1);
      if (!chunk || chunk.used + length > chunk.tokens.length) {
        const size = Math.max(chunkTokens, length);
        chunks.push(chunk = { tokens: new Int32Array(size), targets: new Uint8Array(size), used: 0 });
      }
      chunk.tokens.set(tokens, chunk.used);
      chunk.targets.set(targets, chunk.used);
      if (3 * count === index.length) {
        const grown = new Uint32Array(2 * index.length);
        grown.set(index);
        index = grown;
      }
      index.set([chunks.length - 1, chunk.used, length], 3 * count);
      chunk.used += length;
      count++;
    },
    at(row) {
      const [chunk, start, length] = index.subarray(3 * row, 3 * row + 3);
      const { tokens, targets } = chunks[chunk];
      return { tokens: tokens.subarray(start, start + length), targets: targets.subarray(start, start + length) };
    },
    lengthAt: (row) => index[3 * row + 2],
  };
}

/** The rows at `indices` of a list. */
export function selectExamples(all: Examples, indices: ArrayLike<number>): Examples {
  return {
    length: indices.length,
    at: (i) => all.at(indices[i]),
    lengthAt: (i) => all.lengthAt(indices[i]),
  };
}

/**
 * Documents packed: their tokens joined in order and cut into rows of `length`, the last one perhaps shorter. A row's
 * first token is no target, since nothing before it in the row predicts it; a last row of one token is left out.
 */
export function packExamples(documents: Examples, length: number): Examples {
  const starts = new Float64Array(documents.length + 1);
  for (let i = 0; i < documents.length; i++) starts[i + 1] = starts[i] + documents.lengthAt(i);
  const total = starts[documents.length], whole = Math.floor(total / length), rest = total - whole * length;
  const lengthAt = (row: number) => Math.min(length, total - row * length);
  return {
    length: whole + (rest > 1 ? 1 : 0),
    lengthAt,
    at(row) {
      const tokens = new Int32Array(lengthAt(row)), targets = new Uint8Array(tokens.length).fill(1, 1);
      for (let done = 0, i = documentAt(starts, row * length); done < tokens.length; i++) {
        const part = documents.at(i).tokens.subarray(row * length + done - starts[i]);
        tokens.set(part.subarray(0, tokens.length - done), done);
        done += Math.min(part.length, tokens.length - done);
      }
      return { tokens, targets };
    },
  };
}

/** The last document that begins at or before a position and is not empty. */
function documentAt(starts: Float64Array, position: number): number {
  let low = 0, high = starts.length - 2;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (starts[middle] <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Sums over all rows. */
export function countTokens(examples: Examples): { tokens: number; trained: number } {
  let tokens = 0, trained = 0;
  for (let i = 0; i < examples.length; i++) {
    const { targets } = examples.at(i);
    tokens += targets.length;
    for (const target of targets) trained += target;
  }
  return { tokens, trained };
}

/** All of them in one array, for lists that are used whole. */
export function listExamples(examples: Examples, most = examples.length): Example[] {
  return Array.from({ length: Math.min(most, examples.length) }, (_, i) => examples.at(i));
}
