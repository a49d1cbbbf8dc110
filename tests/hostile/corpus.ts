/**
 * Files of every malformed class for every reader, made by code: what is wrong, which reader, the bytes, what is said.
 * Classes of one format alone stand with their formats too (tests/formats); here each stands beside the same class of the
 * other readers, and is read as a command would read it.
 */

export interface Row {
  /** Name of a reader in readers.ts. */
  reader: string;
  /** What is wrong with the file. */
  class: string;
  bytes: () => Uint8Array;
  /** The refusal, or the word "read". */
  says: RegExp;
}
