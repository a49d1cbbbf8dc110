/** 500 texts that tokenizers get wrong: the same on every run. */
import { randomBits } from "./bytes.ts";

/** What the texts are put together from, by kind. */
const pieces: Record<string, string[]> = {
  words: ["Hello", " world", "don't", " I'LL", "they've", " naïve", "Straße", " Ærø", "ǅ", " İstanbul", "ﬁne", "MiXeD"],
  numbers: ["0", "7", "42", "123", "1234567", "3.14159", "-1e-10", "1,000,000", "٣٤٥", "Ⅻ", "½", "2²", "०१२", "１２３"],
  code: [
    ...[
      "def f(x):\n    return x**2\n",
      "if (a&&b||!c) {\n\t\treturn;\n}\n",
      '<div class="a">&nbsp;</div>',
      "a.b->c[0]",
    ],
    ...[
      "SELECT * FROM t WHERE id='1';--",
      '{"k": [1, null, true]}',
      "x = y if z else -w  # why?",
      "\\begin{eq}\\alpha_1",
    ],
    ...[
      "https://example.org/a?b=c&d=%20#e",
      "user@example.org",
      "C:\\Users\\x",
      "0xDEADBEEF",
      "snake_case_name",
      "camelCase",
    ],
  ],
  spaces: [
    " ",
    "  ",
    "   ",
    "        ",
    "\t",
    "\t\t",
    "\n",
    "\n\n",
    "\n\n\n",
    "\r\n",
    "\r\n\r\n",
    " \n ",
    "\u00a0",
    "\u2003",
  ],
  rareSpaces: ["\u0085", "\u2028", "\u200b", "\u200d", "\ufeff", "\v", "\f", "\u3000", "\u1680", "\u00ad"],
  control: ["\x00", "\x01", "\x07", "\x1b[31m", "\x7f", "\u0080", "\u009f", "\ufffd", "\uffff", "\u{10ffff}"],
  emoji: ["🙂", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇮🇩", "☕️", "1️⃣", "🫠🫠", "❤️‍🔥", "😀😃😄"],
  asia: [
    "สวัสดีครับ",
    "ภาษาไทย ไม่มีช่องว่าง",
    "日本語のテキスト",
    "漢字",
    "中文文本，标点。",
    "한국어 텍스트",
    "𠮷野家",
    "ಕನ್ನಡ",
    "नमस्ते दुनिया",
    "မြန်မာ",
  ],
  rightToLeft: ["مرحبا بالعالم", "السَّلَامُ عَلَيْكُم", "שלום עולם", "فارسی می‌نویسم", "\u202eabc\u202c"],
  marks: [
    "e\u0301",
    "a\u0323\u0307",
    "Z\u0351\u0343\u0321a\u0328l\u0333g\u0310o\u0334",
    "\u0301",
    "ก\u0e48\u0e49",
    "ñ",
    "Å",
  ],
  signs: [
    "!!!",
    "...",
    "—",
    "«»",
    "“q”",
    "¿?",
    "$5.00",
    "€",
    "±×÷",
    "∑∫√∞",
    "→",
    "•",
    "***",
    "~~",
    "___",
    "%%%",
    "(((",
    "]]]",
  ],
  special: [
    ...[
      "<|im_start|>",
      "<|im_end|>",
      "<|endoftext|>",
      "<|begin_of_text|>",
      "<|eot_id|>",
      "<|start_header_id|>user<|end_header_id|>",
    ],
    ...[
      "<s>",
      "</s>",
      "<unk>",
      "[INST]",
      "[/INST]",
      "<bos>",
      "<eos>",
      "<start_of_turn>",
      "<end_of_turn>",
      "<pad>",
      "<think>",
    ],
    ...[
      "<0x0A>",
      "<|im_start",
      "|im_end|>",
      "<tool_call>",
      "<|reserved_special_token_5|>",
      "[UNK]",
      "▁",
      "▁▁",
      "Ġ",
      "Ċ",
    ],
  ],
};

/** Each piece on its own, then mixtures of two to nine of them, until there are 500 different texts. */
export function variedStrings(): string[] {
  const random = randomBits(20), pick = <T>(list: T[]) => list[random() % list.length];
  const all = Object.values(pieces), texts = new Set(all.flat());
  while (texts.size < 500) {
    const count = 2 + random() % 8, gap = pick(["", "", " ", "\n", "  "]);
    texts.add(Array.from({ length: count }, () => pick(pick(all))).join(gap));
  }
  return [...texts];
}
