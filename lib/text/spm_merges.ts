/**
 * BPE merges from the scores of a SentencePiece vocabulary, so that one BPE implementation serves both kinds.
 *
 * SentencePiece joins the neighbouring pair whose joined text has the best score; BPE joins the pair that stands first in
 * a list. Listing every way to cut every piece in two, best score first, makes the same choices. One case may differ: two
 * overlapping pairs that join to the *same* text (runs of one character), where SentencePiece takes the leftmost pair and
 * a list must put one way of cutting first. Formula: `generate_merges` of transformers' convert_slow_tokenizer.py.
 */

/** Merges `[left, right]`, first joined first. `mergeable` says which ids are plain text pieces. */
export function mergesFromScores(
  tokens: string[],
  options: { scores: ArrayLike<number>; mergeable: (id: number) => boolean },
): [string, string][] {
  const { scores, mergeable } = options;
  const ids = new Map<string, number>();
  for (let id = tokens.length - 1; id >= 0; id--) if (mergeable(id)) ids.set(tokens[id], id);
  const merges: { left: number; right: number; score: number; id: number }[] = [];
  for (const [piece, id] of ids) {
    // Cut between characters only: a cut inside a surrogate pair is never a piece.
    for (let cut = 1; cut < piece.length; cut++) {
      const left = ids.get(piece.slice(0, cut));
      if (left === undefined) continue;
      const right = ids.get(piece.slice(cut));
      if (right !== undefined) merges.push({ left, right, score: scores[id], id });
    }
  }
  merges.sort((a, b) => b.score - a.score || a.id - b.id || a.left - b.left || a.right - b.right);
  return merges.map(({ left, right }) => [tokens[left], tokens[right]]);
}
