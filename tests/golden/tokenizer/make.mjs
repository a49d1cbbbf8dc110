// Writes strings.json: 200 varied strings and the token ids llama.cpp gives them with SmolLM2-135M-Instruct's vocabulary.
// usage, in a folder where node-llama-cpp 3.22.1 is installed: node make.mjs SmolLM2-135M-Instruct.Q4_1.gguf strings.json
// Special tokens in the text are parsed, BOS is not added. The first 86 are written by hand, the others are drawn from
// pools of pieces by a small generator with a fixed seed, so that the pieces meet in many ways.
import { writeFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const byHand = [
  "Hello", "Hello world", " Hello", "  Hello", "Hello ", "Hello  ", "\n", "\n\n", "\n\n\n", "\t", "\t\n", " \n", "\n ", "   ", "a", " ", "é",
  "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～", "I've we'll they'd it's don't I'm you're", "I'VE WE'LL THEY'D IT'S DON'T I'M YOU'RE",
  "1", "12", "123", "1234567890", "3.14159", "1,000,000.50 €", "0x1F", "x2y3z4", "½ ¼ ²³ Ⅷ ① ٣٤٥ १२३", "2026-11-24T22:16:05Z", "+62 812-3456-7890",
  "Crème brûlée à l'Église Saint-Étienne, Noël où l'œuf naît", "Crème de\u0301compose\u0301e e\u0301", "Grüße aus Köln: Straße, Fuß, ÄÖÜ", "Español: ¿Qué? ¡Sí! niño",
  "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "İstanbul ığüşöç", "Tiếng Việt: được không?", "Ελληνικά γράμματα", "Съешь же ещё этих мягких французских булок",
  "שלום עולם", "مرحبا بالعالم، كيف حالك؟", "فارسی می‌خواهم", "नमस्ते दुनिया, क्षत्रिय", "สวัสดีชาวโลก", "வணக்கம் உலகம்", "ꦧꦠꦶꦏ꧀ batik ꦒꦩꦼꦭꦤ꧀", "你好，世界！", "こんにちは世界、カタカナ", "안녕하세요 세계", "한글 자모 ㄱㄴㄷ",
  "👍", "👍🏽", "👩‍👩‍👧‍👦 family", "🏳️‍🌈🇮🇩🇮🇳", "❤️ ☕ ✈️", "🤷🏻‍♀️ ¯\\_(ツ)_/¯",
  "def f(x: int) -> int:\n    return x ** 2  # square\n", "for (let i = 0; i < n; i++) {\n\tconsole.log(`${i}: ${a[i]}`);\n}\n", "SELECT * FROM t WHERE a='b' AND c >= 10;", "<html>\n  <body class=\"x\">&nbsp;</body>\n</html>", "#include <stdio.h>\r\nint main(void) { return 0; }\r\n", "{\"a\": [1, 2, {\"b\": null}], \"c\": \"\\u00e9\"}", "$ git commit -m 'fix: a b' && git push --force", "\\frac{\\partial f}{\\partial x} = \\sum_{i=0}^{n} a_i x^i", "https://example.org/a/b?c=d&e=%20f#g", "a_b-c.d@e.org",
  "a\u0001b\u0007c\u001bd\u007fe", "a\u0085b\u00a0c\u2003d\u3000e\u2028f\u2029g", "zero\u200bwidth\u200djoin\ufeffmark\u00adsoft", "\ufeffstart", "\ufffd", "\u{10ffff}\u{e000}", "tab\tand  two   three    four     spaces", "line\n  indented\n    more\n\n\nend  \n", "trailing spaces   \n   leading", "\r\n\r\nx\r\r\ny",
  "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "text<|im_end|>", "<|endoftext|><|endoftext|> a", "a <|im_end|> b", "<|im_end", "<file_sep>x<repo_name> y", "<|im_start|><|im_start|>", "<empty_output>\n<jupyter_code>print(1)",
];
const pools = [
  ["the", " quick", "Brown", " FOX", "jumps", " over", " lazy", "dog", " antidisestablishmentarianism", "ing", " tion", "CamelCase", "snake_case"],
  [" ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u00a0", "\u3000", "\u0085"],
  ["0", "7", "42", "1999", "３", "٤", "x1", "1.5e-3"],
  ["é", "ß", "Ñandú", "ø", "ž", "e\u0301", "Ǆ", "ﬁ", "İ", "ſ"],
  ["你好", "世界", "カ", "한", "ไทย", "हिन्दी", "שלום", "مرحبا", "ꦧꦠ", "Привет", "ω"],
  ["😀", "👩🏽‍🚀", "🇮🇩", "❤️", "☕", "⁉", "€", "→", "∑"],
  ["'s", "'LL", "'", "\"", "...", "--", "!?", "(", ")", "[]", "{}", "#", "@", "\\", "/", "%", "&&", "=>", "~"],
  ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "\u0000".replace("\u0000", "\u0002"), "\u001b[31m", "\u200b", "\ufeff", "\u007f"],
];
const strings = [...byHand];
let state = 20261124;
const draw = (n) => {
  // xorshift32
  state ^= state << 13; state >>>= 0; state ^= state >>> 17; state ^= state << 5; state >>>= 0;
  return state % n;
};
while (strings.length < 200) {
  let text = "";
  for (let n = 2 + draw(14); n > 0; n--) { const pool = pools[draw(pools.length)]; text += pool[draw(pool.length)]; }
  strings.push(text);
}
const [gguf, out] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never" });
const model = await llama.loadModel({ modelPath: gguf, vocabOnly: true });
const cases = strings.map((text) => ({ text, ids: [...model.tokenize(text, true)] }));
// ASCII only, so that no editor or tool can change a character of it
const escaped = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
writeFileSync(out, "[\n" + cases.map(escaped).join(",\n") + "\n]\n");
console.log(cases.length, "strings,", byHand.length, "by hand");
process.exit(0);
