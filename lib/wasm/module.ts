/**
 * The kernels of the WASM engine as one module: the .wat files beside this one, each a few functions, joined under one
 * memory and one table. What a kernel computes and takes stands at its head.
 */
import compile from "watr/compile";
import adaptedRowNorm from "./adapted_row_norm.wat" with { type: "text" };
import attention from "./attention.wat" with { type: "text" };
import attentionFour from "./attention_four.wat" with { type: "text" };
import elementwise from "./elementwise.wat" with { type: "text" };
import gated from "./gated.wat" with { type: "text" };
import gatherQ8 from "./gather_q8.wat" with { type: "text" };
import linearF32 from "./linear_f32.wat" with { type: "text" };
import { products } from "./products.ts";
import quantize from "./quantize.wat" with { type: "text" };
import rows from "./rows.wat" with { type: "text" };
import run from "./run.wat" with { type: "text" };
import sums from "./sums.wat" with { type: "text" };

/** What a list may call, by its place in the table. */
export const kernels = [
  "barrier",
  "adapted_row_norm",
  "attention",
  "elementwise",
  "gated",
  "gather_q8",
  "gather_rows",
  "linear_f32",
  "linear_nf4",
  "linear_q8",
  "quantize",
  "rms_norm",
  "rope",
  "round",
  "store_rows",
] as const;

export type Kernel = typeof kernels[number];

/** f32 numbers that the kernels read at 256: of $exp, its range, 1/ln 2, ln 2 in two parts, the polynomial, and 1. */
export const numbersAt = 256;
export const numbers = [
  ...[88, -87, Math.LOG2E, 0.693359375, -2.1219444e-4],
  ...[1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5],
  1,
];

/** The first thread's part of run.wat. */
export interface Exports {
  run(list: number, threads: number): void;
}

let compiled: WebAssembly.Module | undefined;

export function kernelModule(): WebAssembly.Module {
  const sources = [
    run,
    sums,
    elementwise,
    rows,
    quantize,
    products,
    gatherQ8,
    linearF32,
    attention,
    attentionFour,
    gated,
    adaptedRowNorm,
  ];
  return compiled ??= new WebAssembly.Module(compile(`(module
    (import "env" "memory" (memory 1 65536 shared))
    (memory $own 1)
    (table funcref (elem ${kernels.map((name) => `$${name}`).join(" ")}))
    ${sources.join("\n")})`) as Uint8Array<ArrayBuffer>);
}
