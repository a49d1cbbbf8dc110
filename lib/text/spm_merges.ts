/**
 * BPE merges from the scores of a SentencePiece vocabulary, so that one BPE implementation serves both kinds.
 *
 * SentencePiece joins the neighbouring pair whose joined text has the best score; BPE joins the pair that stands first in
 * a list. Listing every way to cut every piece in two, best score first, makes the same choices. One case may differ: two
 * overlapping pairs that join to the *same* text (runs of one character), where SentencePiece takes the leftmost pair and
 * a list must put one way of cutting first. Formula: `generate_merges` of transformers' convert_slow_tokenizer.py.
 */
import { hashOf, hashOn, tableOf, unitReader } from "./string_table.ts";

/** Ids of merges, first joined first: left, right, and what they make. `mergeable` says which are plain text pieces. */
export function mergesFromScores(
  tokens: string[],
  options: { scores: ArrayLike<number>; mergeable: (id: number) => boolean },
): Int32Array {
  const { scores, mergeable } = options;
  const firstIds = new Map<string, number>();
  for (let id = tokens.length - 1; id >= 0; id--) if (mergeable(id)) firstIds.set(tokens[id], id);
  const pieces = tableOf(firstIds.keys()), ids = Int32Array.from(firstIds.values());
  const unitsOf = unitReader();
  const byScore = ids.slice().sort(), inOrder = (a: number, b: number) => scores[b] - scores[a] || a - b;
  // Most files list their pieces in this order.
  if (byScore.some((id, i) => i > 0 && inOrder(byScore[i - 1], id) > 0)) byScore.sort(inOrder);
  const merges: number[] = [];
  for (const id of byScore) {
    const { length } = tokens[id], piece = unitsOf(tokens[id]), halves: { left: number; right: number }[] = [];
    // Cut between characters only: a cut inside a surrogate pair is never a piece.
    for (let cut = 1, hash = 0; cut < length; cut++) {
      hash = hashOn(hash, piece[cut - 1]);
      const left = pieces.find(piece, 0, cut, hash);
      if (left < 0) continue;
      const right = pieces.find(piece, cut, length, hashOf(piece, cut, length));
      if (right >= 0) halves.push({ left: ids[left], right: ids[right] });
    }
    if (halves.length > 1) halves.sort((a, b) => a.left - b.left);
    for (const { left, right } of halves) merges.push(left, right, id);
  }
  return Int32Array.from(merges);
}
