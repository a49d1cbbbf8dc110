/**
 * Texts cut into the words and n-grams that the measures of text_metrics.ts compare. Each cut is that of the published
 * program named beside it; where that program knows ASCII letters only, the letters of other scripts are letters here too,
 * so that on English text the numbers are its own.
 */

/** Unicode punctuation and the ASCII symbols of Python's string.punctuation, as MLQA's evaluation script extends SQuAD's. */
const punctuation = /[\p{P}$+<=>^`|~]/gu;
/** Python's \b sees letters and digits of every script, JavaScript's does not. */
const articles = /(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu;

/** SQuAD's normalize_answer (evaluate-v2.0.py): lower case, without punctuation, articles and spare spaces. */
export function normalizeAnswer(text: string): string {
  return text.toLowerCase().replace(punctuation, "").replace(articles, " ").split(/\s+/).filter(Boolean).join(" ");
}

/** Words of SQuAD's F1. */
export function squadWords(text: string): string[] {
  const normal = normalizeAnswer(text);
  return normal === "" ? [] : normal.split(" ");
}

/** Words of ROUGE as rouge_score 0.1.2 makes them (tokenize.py, no stemmer): runs of letters and digits, in lower case. */
export function rougeWords(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
}

/** Every n-gram of characters with its count; white space is left out, as sacreBLEU's chrF does. */
export function characterNgrams(text: string, n: number): Map<string, number> {
  const characters = [...text.replace(/\s+/gu, "")], counts = new Map<string, number>();
  for (let i = 0; i + n <= characters.length; i++) {
    const gram = characters.slice(i, i + n).join("");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** How many members two bags share, each counted as often as both hold it. */
export function overlap(a: Map<string, number>, b: Map<string, number>): number {
  let shared = 0;
  for (const [member, count] of a) shared += Math.min(count, b.get(member) ?? 0);
  return shared;
}

export function bagOf(words: string[]): Map<string, number> {
  const bag = new Map<string, number>();
  for (const word of words) bag.set(word, (bag.get(word) ?? 0) + 1);
  return bag;
}
