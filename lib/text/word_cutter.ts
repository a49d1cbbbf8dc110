/**
 * Cuts text into the words within which byte pairs are merged, as a tokenizer.json's `pre_tokenizer` says. Nearly all say it
 * in expressions, each applied to the pieces that the one before left; those are walked through here without making anything
 * but the words. Other steps are the library's.
 */
import {
  ByteLevelPreTokenizer,
  type PreTokenizer,
  SequencePreTokenizer,
  SplitPreTokenizer,
} from "@huggingface/tokenizers";

export interface WordCutter {
  /** Calls `use` with each word of a text in order; `section` is the text's place among the parts between marks. */
  cut(text: string, section: number, use: (word: string) => void): void;
  /** Whether the words are still to be spelt in bytes, the last step of byte-level vocabularies. */
  bytes: boolean;
}

export function makeWordCutter(preTokenizer: PreTokenizer | null): WordCutter {
  const steps = preTokenizer === null ? [] : stepsOf(preTokenizer);
  const bytes = steps.length > 0 && spellsBytes(steps.at(-1)!);
  const patterns = (bytes ? steps.slice(0, -1) : steps).map(patternOf);
  if (patterns.includes(null)) {
    return {
      bytes: false,
      cut: (text, section, use) => preTokenizer!.pre_tokenize(text, { section_index: section }).forEach(use),
    };
  }
  return { bytes, cut: (text, _, use) => cutBy(patterns as Pattern[], { text, depth: 0, use }) };
}

function stepsOf(step: PreTokenizer): PreTokenizer[] {
  if (!(step instanceof SequencePreTokenizer)) return [step];
  return step.tokenizers.flatMap((inner) => (inner === null ? [] : stepsOf(inner)));
}

/** A step that does nothing but spell bytes; one that cuts as well is written out before (`spellOut`). */
function spellsBytes(step: PreTokenizer): boolean {
  return step instanceof ByteLevelPreTokenizer && !step.use_regex && !step.add_prefix_space;
}

/** The same expression twice: matching where it stands, and looking for its next match. */
interface Pattern {
  here: RegExp;
  next: RegExp;
}

/** Null for a step that does more than cutting between matches and what lies between them. */
function patternOf(step: PreTokenizer): Pattern | null {
  if (!(step instanceof SplitPreTokenizer) || step.pattern === null || step.config.invert) return null;
  if (step.config.behavior?.toLowerCase() === "removed") return null;
  return { here: new RegExp(step.pattern.source, "uy"), next: new RegExp(step.pattern.source, "gu") };
}

function cutBy(
  patterns: Pattern[],
  { text, depth, use }: { text: string; depth: number; use: (word: string) => void },
): void {
  if (depth === patterns.length) return use(text);
  const { here, next } = patterns[depth];
  for (let start = 0; start < text.length;) {
    here.lastIndex = start;
    let end = here.test(text) ? here.lastIndex : start;
    if (end === start) {
      // No match, or an empty one: what lies before the next is a piece as well.
      next.lastIndex = start + (text.codePointAt(start)! > 0xffff ? 2 : 1);
      end = next.exec(text)?.index ?? text.length;
    }
    const piece = text.slice(start, end);
    if (depth + 1 === patterns.length) use(piece);
    else cutBy(patterns, { text: piece, depth: depth + 1, use });
    start = end;
  }
}
