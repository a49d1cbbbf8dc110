/**
 * The number formats a tensor may be stored in, by name, with their sizes: the one table of foreign type ids.
 * Ids and sizes are ggml's (ggml.h enum ggml_type, ggml-common.h block structs); types without decoder are listed so
 * that a file holding them can be read up to the point where such a tensor is needed.
 */

export interface GgmlType {
  /** Elements of a block. */
  block: number;
  /** Bytes of a block. */
  bytes: number;
  /** enum ggml_type. */
  id: number;
}

export const ggmlTypes: Record<string, GgmlType> = {
  F32: { block: 1, bytes: 4, id: 0 },
  F16: { block: 1, bytes: 2, id: 1 },
  Q4_0: { block: 32, bytes: 18, id: 2 },
  Q4_1: { block: 32, bytes: 20, id: 3 },
  Q5_0: { block: 32, bytes: 22, id: 6 },
  Q5_1: { block: 32, bytes: 24, id: 7 },
  Q8_0: { block: 32, bytes: 34, id: 8 },
  Q8_1: { block: 32, bytes: 36, id: 9 },
  Q2_K: { block: 256, bytes: 84, id: 10 },
  Q3_K: { block: 256, bytes: 110, id: 11 },
  Q4_K: { block: 256, bytes: 144, id: 12 },
  Q5_K: { block: 256, bytes: 176, id: 13 },
  Q6_K: { block: 256, bytes: 210, id: 14 },
  Q8_K: { block: 256, bytes: 292, id: 15 },
  IQ2_XXS: { block: 256, bytes: 66, id: 16 },
  IQ2_XS: { block: 256, bytes: 74, id: 17 },
  IQ3_XXS: { block: 256, bytes: 98, id: 18 },
  IQ1_S: { block: 256, bytes: 50, id: 19 },
  IQ4_NL: { block: 32, bytes: 18, id: 20 },
  IQ3_S: { block: 256, bytes: 110, id: 21 },
  IQ2_S: { block: 256, bytes: 82, id: 22 },
  IQ4_XS: { block: 256, bytes: 136, id: 23 },
  I8: { block: 1, bytes: 1, id: 24 },
  I16: { block: 1, bytes: 2, id: 25 },
  I32: { block: 1, bytes: 4, id: 26 },
  I64: { block: 1, bytes: 8, id: 27 },
  F64: { block: 1, bytes: 8, id: 28 },
  IQ1_M: { block: 256, bytes: 56, id: 29 },
  BF16: { block: 1, bytes: 2, id: 30 },
  TQ1_0: { block: 256, bytes: 54, id: 34 },
  TQ2_0: { block: 256, bytes: 66, id: 35 },
  MXFP4: { block: 32, bytes: 17, id: 39 },
  NVFP4: { block: 64, bytes: 36, id: 40 },
  Q1_0: { block: 128, bytes: 18, id: 41 },
  Q2_0: { block: 64, bytes: 18, id: 42 },
};
