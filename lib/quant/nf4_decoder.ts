/**
 * NF4 to f32 at the speed of memory, for weights that are dequantised at every step: nf4.wat in a memory that holds the
 * result. Gives bit for bit what dequantizeNf4 gives (0.2 instead of 0.8 ns an element, 0.6 where the result is larger
 * than the caches). Large weights may be decoded by a few threads: this one hands out pieces, and decodes itself what
 * nobody is free for, so that a thread that comes late is never waited for.
 */
import { Worker } from "node:worker_threads";
import compile from "watr/compile";
import { recoverAbsmax } from "./double_quant.ts";
import { nf4Block, nf4Codebook } from "./nf4.ts";
import source from "./nf4.wat" with { type: "text" };
import workerSource from "./nf4_worker.js" with { type: "text" };

export interface Nf4Decoder {
  /** The weight decoded last, f32 [count]; it lies where it is for good. */
  out: Float32Array<ArrayBuffer>;
  /**
   * Codes [ceil(count/2)] and block maxima [ceil(count/64)] into `out`. Returns how many of its pieces other threads
   * have decoded.
   */
  decode(packed: Uint8Array, absmax: BlockMaxima): number;
}

type BlockMaxima = Float32Array | Parameters<typeof recoverAbsmax>[0];

export interface Nf4Decoders {
  /** A decoder for weights of `count` elements, with memory for one of them. */
  decoder(count: number): Nf4Decoder;
  /** Ends the threads. */
  stop(): void;
}

/** Blocks that are decoded at a time: their codes pass through the second cache, and need no memory to speak of. */
const piece = 2048;

/** Elements from which on threads are worth their messages; below, a weight takes a few milliseconds. */
const large = 1 << 22;

/** What the first word of a slot says; the others are a piece's codes, maxima, result (addresses) and blocks. */
const slotState = { empty: 0, full: 1, busy: 2, closed: 3 };
const slotWords = 16;
/** A thread decodes one while the next is filled. */
const slotsOfThread = 2;

/**
 * Threads worth decoding with on so many cores: two cores write no faster than one, and four threads are as fast as
 * twelve (16 cores: a step of the 7B shape in 0.8 of the time).
 */
export function decodingThreads(cores: number): number {
  return Math.min(Math.max(cores >> 1, 1), 4);
}

let kernel: WebAssembly.Module | undefined;

/** Decoders that share `threads` threads, this one among them; the others start with the first large weight. */
export function nf4Decoders({ threads }: { threads: number }): Nf4Decoders {
  kernel ??= new WebAssembly.Module(compile(source) as Uint8Array<ArrayBuffer>);
  const workers: Worker[] = [];
  let decoders = 0;

  function startWorkers(): void {
    while (workers.length < threads - 1) {
      const worker = new Worker(workerSource, { eval: true, workerData: { kernel, slotState } });
      // The program's end does not wait for a thread that sleeps.
      worker.unref();
      workers.push(worker);
    }
  }

  function decoder(count: number): Nf4Decoder {
    const id = decoders++, blocks = Math.ceil(count / nf4Block);
    const room = makeRoom(blocks, count < large ? 0 : threads - 1), { memory, words, own, outAt } = room;
    const { exports } = new WebAssembly.Instance(kernel!, { env: { memory } });
    const run = exports.decode as (packed: number, absmax: number, out: number, blocks: number) => void;
    const decodeSlot = ({ at }: Slot) => run(words[at + 1], words[at + 2], words[at + 3], words[at + 4]);

    function open(): void {
      if (room.shared.length > 0) startWorkers();
      room.shared.forEach((slots, n) => {
        for (const { at } of slots) Atomics.store(words, at, slotState.empty);
        workers[n].postMessage({ id, memory, slots: slots.map(({ at }) => at) });
      });
    }

    /** Decodes what no thread has begun, waits for what one has; returns how many pieces were left to do here. */
    function close(): number {
      let left = 0;
      for (const slot of room.shared.flat()) {
        if (Atomics.compareExchange(words, slot.at, slotState.full, slotState.closed) === slotState.full) {
          decodeSlot(slot);
          left++;
        }
        while (Atomics.load(words, slot.at) === slotState.busy) Atomics.wait(words, slot.at, slotState.busy);
        Atomics.store(words, slot.at, slotState.closed);
        Atomics.notify(words, slot.at);
      }
      return left;
    }

    function decode(packed: Uint8Array, absmax: BlockMaxima): number {
      open();
      // A thread takes its slots in turn, as they are filled here.
      const given = room.shared.map(() => 0), next = (n: number) => room.shared[n][given[n] % slotsOfThread];
      for (let start = 0; start < blocks; start += piece) {
        const end = Math.min(start + piece, blocks);
        const n = given.findIndex((_, n) => Atomics.load(words, next(n).at) === slotState.empty);
        const slot = n < 0 ? own : next(n);
        slot.codes.set(packed.subarray(32 * start, 32 * end));
        if (absmax instanceof Float32Array) slot.maxima.set(absmax.subarray(start, end));
        else recoverAbsmax(absmax, { start, end, out: slot.maxima });
        words[slot.at + 3] = outAt + 256 * start;
        words[slot.at + 4] = end - start;
        if (n < 0) {
          decodeSlot(slot);
        } else {
          given[n]++;
          Atomics.store(words, slot.at, slotState.full);
          Atomics.notify(words, slot.at);
        }
      }
      return given.reduce((a, b) => a + b, 0) - close();
    }

    return { out: new Float32Array(memory.buffer as ArrayBuffer, outAt, count), decode };
  }

  return {
    decoder,
    stop() {
      for (const worker of workers.splice(0)) worker.terminate();
    },
  };
}

interface Slot {
  /** Its first word. */
  at: number;
  /** Codes of a piece, u8 [32 * piece]. */
  codes: Uint8Array;
  /** Block maxima of a piece. */
  maxima: Float32Array<ArrayBuffer>;
}

/**
 * Memory for weights of so many blocks, and the slots of so many other threads in it: tables, slots' words, codes and
 * maxima of a piece for each slot, the result, each from a multiple of 64 bytes on; whole blocks, so that the last may
 * be short.
 */
function makeRoom(blocks: number, others: number) {
  const count = 1 + others * slotsOfThread;
  const most = Math.min(blocks, piece), codeBytes = 32 * most, maximaBytes = Math.ceil(most / 16) * 64;
  const wordsAt = 64, piecesAt = wordsAt + 4 * slotWords * count;
  const outAt = piecesAt + (codeBytes + maximaBytes) * count;
  const pages = Math.ceil((outAt + 256 * blocks) / 65_536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const buffer = memory.buffer as unknown as ArrayBuffer, words = new Int32Array(buffer);
  const tables = new Uint8Array(buffer, 0, 64), values = new Uint8Array(nf4Codebook.buffer, nf4Codebook.byteOffset, 64);
  for (let code = 0; code < 16; code++) {
    for (let byte = 0; byte < 4; byte++) tables[16 * byte + code] = values[4 * code + byte];
  }
  const [own, ...rest] = Array.from({ length: count }, (_, n): Slot => {
    const at = wordsAt / 4 + n * slotWords, codesAt = piecesAt + (codeBytes + maximaBytes) * n;
    words[at + 1] = codesAt;
    words[at + 2] = codesAt + codeBytes;
    return {
      at,
      codes: new Uint8Array(buffer, codesAt, codeBytes),
      maxima: new Float32Array(buffer, codesAt + codeBytes, most),
    };
  });
  const shared = Array.from({ length: others }, (_, n) => rest.slice(n * slotsOfThread, (n + 1) * slotsOfThread));
  return { memory, words, outAt, own, shared };
}
