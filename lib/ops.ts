/**
 * The vocabulary the model is written in. `lib/model/forward.ts` and `backward.ts` are call lists against `Ops`;
 * each executor implements it: ONNX Runtime (lib/onnx), WebAssembly (lib/wasm, what answers need), WebGPU (lib/webgpu),
 * float64 loops (tests/reference).
 *
 * There is no autograd: only LoRA's A and B (and DoRA's magnitude) get gradients, so every backward operation that is
 * needed stands here by name. All values are f32 row-major unless said otherwise.
 *
 * Shape letters: T tokens of a packed batch (all rows one after the other, no padding), B rows, L the longest row,
 * N labelled positions, D width, H query heads, G key/value heads, S head size, F feed-forward width, V vocabulary,
 * R LoRA rank, O and I a projection's outputs and inputs.
 */

/** A handle to a tensor of an executor. */
export interface Value {
  readonly shape: readonly number[];
}

/** Where the rows of a packed batch lie, as the executor's values. */
export interface Rows<V extends Value> {
  /**
   * i32 [T, 2]: query t sees keys spans[t][0]..t, and key t is seen by queries t..spans[t][1]-1. Says all there is to
   * say: rows, causality and the window.
   */
  spans: V;
  /** The same for executors that compute attention on a padded layout (`Executor.paddedAttention`). */
  padded?: PaddedRows<V>;
}

/**
 * The rows of a packed batch laid out as [B, L]: position l of row b is token `gather[b*L + l]` (any real token where
 * `live` is 0), and packed token t is padded position `scatter[t]`.
 */
export interface PaddedRows<V extends Value> {
  /** i32 [B, L]: packed token of each padded position. */
  gather: V;
  /** i32 [T]: flat padded position b*L + l of each packed token. */
  scatter: V;
  /** f32 [B, L]: 1 where a padded position holds a token, 0 where it is padding. */
  live: V;
  /** f32 [L, L]: added to the scores; 0 where query l may see key m (m <= l, and within the window), else -1e30. */
  mask: V;
}

/** Cached keys and values, where the T new tokens of one or more sequences belong in them, and what each of these sees. */
export interface Cached<V extends Value> {
  table?: CacheTable<V>;
  /** For executors with `paddedAttention`. */
  slots?: CacheSlots<V>;
}

/** All slots in one table; its leading axes are taken as one, of rows. */
export interface CacheTable<V extends Value> {
  /** [slots, C, G*S]. */
  keys: V;
  values: V;
  /** i32 [T]: the row of each new token. */
  index: V;
  /** i32 [T, 2]: the first row that it sees, and the one after the last: its own. */
  spans: V;
}

/** Each sequence's slot by itself, sequences in the order of their tokens. */
export interface CacheSlots<V extends Value> {
  /** [1, G, C, S] each. */
  keys: V[];
  values: V[];
  /**
   * i32 [N]: the new tokens by number, two at least of each sequence. A single one stands there twice, its double in a
   * place that nobody sees: products over its keys then take the way that they take in a longer piece, and their last bits
   * do not tell whether a token came alone.
   */
  spread: V;
  /** i32 [T]: where each token stands among these. */
  gather: V;
  /** i32 [sequences]: how many of them each has. */
  counts: V;
  /** i32 [1] each: the position of its last one, and the one after it. */
  last: V[];
  end: V[];
}

export interface AttentionOptions {
  heads: number;
  kvHeads: number;
  /** Factor of q.k, 1/sqrt(S) unless the model says otherwise. */
  scale: number;
}

export type Activation = "silu" | "gelu_tanh";

export interface Ops<V extends Value> {
  /** y[n] = table[index[n]]. table [M, D] f32 or 16 bits, index i32 [N] -> [N, D]. */
  gatherRows(table: V, index: V): V;
  /** y[index[n]] = x[n], all other rows 0; indices are distinct. x [N, D], index i32 [N], `like` [M, D] -> [M, D]. */
  scatterRows(x: V, index: V, like: V): V;
  /** a + b; b has a's shape, or is a vector over a's last axis. */
  add(a: V, b: V): V;
  /** a * b, elementwise; b has a's shape, or is a vector over a's last axis. */
  mul(a: V, b: V): V;
  /** a / b, elementwise, same shapes. */
  div(a: V, b: V): V;
  /** factor * x. */
  scale(x: V, factor: number): V;
  /** Sum over the first axis. [T, O] -> [O]. */
  sumRows(x: V): V;

  /**
   * y = x / sqrt(mean(x^2) + eps) * weight over groups of weight.length along the last axis: the whole width for a
   * layer norm, one head for q and k norms. x [T, n*S], weight [S] -> [T, n*S].
   */
  rmsNorm(x: V, weight: V, options: { eps: number }): V;
  /** dx of rmsNorm: with r = 1/sqrt(mean(x^2)+eps), dx = r*(w*dy - x*r^2*mean(w*dy*x)). */
  rmsNormBackward(dy: V, x: V, weight: V, options: { eps: number }): V;

  /** y = x * W^T. x [T, I], weight [O, I] f32, 16 bits or NF4 -> [T, O]. */
  linear(x: V, weight: V): V;
  /** dx = dy * W. dy [T, O], weight [O, I] f32 or NF4 -> [T, I]. */
  linearBackward(dy: V, weight: V): V;
  /** scale * op(a) * op(b) + plus, op transposing a 2-D value when its flag is set. */
  matmul(a: V, b: V, options?: { transA?: boolean; transB?: boolean; scale?: number; plus?: V }): V;
  /** L2 norm of each row of W + scale*B*A (DoRA). weight [O, I] f32 or NF4, a [R, I], b [O, R] -> [O]. */
  adaptedRowNorm(weight: V, a: V, b: V, options: { scale: number }): V;

  /**
   * Rotary embedding in the half-split form: for each head (x1, x2) -> (x1*cos - x2*sin, x2*cos + x1*sin).
   * x [T, n*S], cos and sin [T, S/2] -> [T, n*S]. `inverse` rotates back, which is the gradient.
   */
  rope(x: V, cos: V, sin: V, options: { heads: number; inverse?: boolean }): V;
  /**
   * softmax(scale * q*k^T) * v over the keys that `rows` lets a query see, query head h reading key head floor(h*G/H).
   * q [T, H*S], k and v [T, G*S] -> [T, H*S].
   */
  attention(q: V, k: V, v: V, rows: Rows<V>, options: AttentionOptions): V;
  /**
   * The same where it leaves something that saves its backward half of the work: stats [T, H], the logarithm of each
   * softmax's denominator. Absent where the backward has no use for it.
   */
  attentionWithStats?(q: V, k: V, v: V, rows: Rows<V>, options: AttentionOptions): { y: V; stats: V };
  /**
   * Gradients of attention, the probabilities recomputed from q and k. y, the output, is that of `forward`, what
   * attentionWithStats gave, or falls out again on the way.
   */
  attentionBackward(
    dy: V,
    q: V,
    k: V,
    v: V,
    rows: Rows<V>,
    options: AttentionOptions & { forward?: { y: V; stats: V } },
  ): { y: V; dq: V; dk: V; dv: V };
  /**
   * Stores the keys and values of T new tokens in their places of a cache, then the same attention over what the cache
   * holds. q [T, H*S], k and v [T, G*S] -> [T, H*S]. `window`: a token sees itself and the window - 1 before it.
   */
  attentionCached(
    q: V,
    k: V,
    v: V,
    cached: Cached<V>,
    options: AttentionOptions & { window: number },
  ): V;

  /** act(gate) * up, [T, F]; silu(x) = x*sigmoid(x), gelu_tanh is the tanh approximation. */
  gated(gate: V, up: V, activation: Activation): V;
  /** Gradients of gated, whose y falls out again on the way. */
  gatedBackward(dy: V, gate: V, up: V, activation: Activation): { y: V; dgate: V; dup: V };

  /**
   * Softmax cross-entropy of the head h*W^T against targets, with dh = scale * (softmax - onehot) * W, so that logits
   * live only inside. h [N, D], weight [V, D] f32 or 16 bits, targets i32 [N] -> loss [N] (nats, unscaled), dh [N, D].
   */
  crossEntropy(h: V, weight: V, targets: V, options: { scale: number }): { loss: V; dh: V };
}

/** How tokens are chosen, each by the name and meaning of lib/model/sample.ts, all of them given. */
export interface SampleOptions {
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  seed: number;
  /** Number of the answer among those that are drawn by one seed. */
  row: number;
  /** Tokens that were chosen before. */
  step: number;
}

/**
 * A piece of the model that an executor may compile once and run often: `build` is called with the executor's own
 * Ops and must depend on nothing but its arguments and what `key` says.
 */
export interface Segment {
  /** Unique for everything `build` bakes in (shapes of weights, flags, scalar constants). */
  key: string;
  /** Inputs that are never read again: an executor may write results over them. */
  consumes?: readonly string[];
  /** Inputs that are the same in every run of this segment, beside those that a run is given: they are looked at once. */
  fixed?: Readonly<Record<string, Value>>;
  build<V extends Value>(ops: Ops<V>, inputs: Record<string, V>): Record<string, V>;
}

/** A frozen weight as it is stored: f32, 16-bit patterns of f16 or bfloat16, or NF4 with block size 64. */
export type WeightData =
  | { kind: "f32"; shape: [number, number]; data: Float32Array }
  | { kind: "half"; shape: [number, number]; format: "f16" | "bf16"; data: Uint16Array }
  | {
    kind: "nf4";
    shape: [number, number];
    /** Codes, two to a byte, even index in the high nibble, row-major. */
    packed: Uint8Array;
    /** Maximum of each 64 elements: f32, or double-quantised as lib/quant/double_quant.ts recovers it. */
    absmax: Float32Array | { codes: Uint8Array; nestedAbsmax: Float32Array; offset: number };
  };

/** A mask of dropout by a counter. */
export interface DropoutMask {
  /** Element i is dropped where lowbias32(key + i * 0x9e3779b9) < threshold; all are 32-bit numbers without sign. */
  key: number;
  threshold: number;
  /** What stands in the other places. */
  factor: number;
}

/** Runs segments. One is made per process; every Value belongs to the executor that made it. */
export interface Executor {
  /** Says which engine this is, for the log: "ONNX Runtime 1.30.0, 2 threads". */
  readonly description: string;
  /** Whether attention wants `Rows.padded` and `CacheSlots`. */
  readonly paddedAttention: boolean;
  /** Whether segments are best large: every run of one costs something, however little it does. */
  readonly largeSegments: boolean;
  /**
   * Whether attention over a cache is good for many tokens at a time: else whole prompts run without one, and their keys and
   * values are stored afterwards.
   */
  readonly promptsThroughCache: boolean;
  /**
   * Makes a value of host data. ONNX Runtime's shares the memory: later writes to `data` are seen. `purpose` names what
   * comes with every batch in another length: its memory is then as large as the largest needed, and serves all.
   */
  tensor(data: Float32Array | Int32Array, shape: readonly number[], purpose?: string): Value;
  /** Makes a mask of dropout where it is used. Absent where the host may as well make it. */
  dropoutMask?(mask: DropoutMask, shape: readonly number[]): Value;
  /** Makes a value of a frozen weight. */
  weight(data: WeightData): Value;
  /** Runs a segment. Outputs named in `into` are written there, the others are new values, to be released. */
  run(
    segment: Segment,
    inputs: Record<string, Value>,
    into?: Record<string, Value>,
  ): Promise<Record<string, Value>>;
  /** Host copy (or view) of an f32 value; valid until the value is released. */
  read(value: Value): Promise<Float32Array>;
  /** The same of several values, with one wait for all of them. */
  readAll(values: Value[]): Promise<Float32Array[]>;
  /** Overwrites a value made by `tensor`, in order with what was run. */
  write(value: Value, data: Float32Array): void;
  /** into += from by element, in order with what was run. f32, same shapes. */
  accumulate(into: Value, from: Value): void;
  /**
   * table[index[n]] = rows[n], in order with what was run. rows [N, D], index i32 [N] of distinct rows, table made by
   * `tensor` or `cache`, [..., D], its leading axes taken as one.
   */
  storeRows(table: Value, rows: Value, index: Value): void;
  /**
   * A smaller copy of an f32 value [T, D] to be kept while nobody reads it, and an f32 value of it again, rounded to 11
   * bits. Absent where f32 is all the executor computes in.
   */
  pack?(x: Value): Value;
  unpack?(packed: Value): Value;
  /**
   * Makes a table for storeRows and attentionCached, in the type that suits the device; its rows hold anything until
   * they are stored. Absent: a tensor does.
   */
  cache?(shape: readonly number[]): Value;
  /**
   * Chooses a token from each row of logits [B, V] where they lie, by options of each row: `tokens` i32 [B], for what runs
   * next, to be released after that, and their numbers, as soon as what was run before is done. Absent: logits have to be
   * read.
   */
  chooseTokens?(logits: Value, options: SampleOptions[]): { tokens: Value; numbers: Promise<Int32Array> };
  /** Gives values back for reuse. */
  release(...values: Value[]): void;
  /** Frees memory kept for reuse, when a phase of work is over. Released values must not be read any more. */
  trim(): void;
  /** Frees everything. */
  dispose(): Promise<void>;
}
