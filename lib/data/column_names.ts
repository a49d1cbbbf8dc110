/**
 * Which column of a table, or key of a JSON object, holds what, by its name: in English, as the known data sets spell
 * them, and in other languages. Names are compared without case, accents, spaces and underscores. What two columns
 * claim is not guessed: then, or for other names, a person says it (`instruction=question,output=answer`).
 */
import { UserError } from "../errors.ts";

export const roles = ["instruction", "input", "output", "system", "messages", "tools", "text"] as const;
export type Role = typeof roles[number];
/** Column of each role that has one. */
export type Columns = Partial<Record<Role, string>>;

/** Names by role; the first one is the role's own and wins over others beside it. */
const names: Record<Role, string> = {
  instruction:
    "instruction instructions prompt question query q pregunta pergunta domanda frage вопрос инструкция запрос " +
    "питання 问题 問題 指令 提问 質問 指示 질문 지시 سؤال السؤال پرسش प्रश्न सवाल প্রশ্ন คำถาม câuhỏi soalan pertanyaan " +
    "instruksi arahan soru pytanie otázka vraag fråga kérdés întrebare ερώτηση שאלה swali instrução instrucción " +
    "istruzione anweisung consigne questão",
  input:
    "input context entrada contexto entrée contexte eingabe kontext contesto ввод контекст 输入 輸入 上下文 入力 입력 konteks",
  output:
    "output response completion answer a reply target respuesta resposta risposta antwort réponse ответ відповідь 回答 " +
    "答案 答复 输出 輸出 回复 応答 答え 답변 대답 응답 جواب الجواب إجابة الإجابة پاسخ उत्तर जवाब উত্তর คำตอบ trảlời câutrảlời " +
    "jawaban jawapan cevap yanıt odpowiedź odpověď antwoord svar válasz răspuns απάντηση תשובה jibu saída salida",
  system: "system systemprompt systemmessage",
  messages: "messages conversations conversation dialogue dialog chat",
  tools: "tools functions",
  text: "text content document texto texte testo текст 文本 文章 テキスト 텍스트 نص teks",
};

/** "Câu_hỏi" -> "cauhoi" */
function plain(name: string): string {
  return name.normalize("NFKD").replace(/[\p{M}\p{Z}\s_\-.:\ufeff]/gu, "").toLowerCase();
}

const roleOfName = new Map<string, Role>();
for (const role of roles) for (const name of names[role].split(" ")) roleOfName.set(plain(name), role);

/** Parses `instruction=question,output=answer`. Errors: UserError that names what is wrong with it. */
export function parseColumns(text: string): Columns {
  const columns: Columns = {};
  for (const part of text.split(",").map((part) => part.trim()).filter((part) => part !== "")) {
    const at = part.indexOf("=");
    const role = part.slice(0, at).trim(), column = part.slice(at + 1).trim();
    if (at < 0 || column === "" || !roles.some((known) => known === role)) {
      throw new UserError(`columns: expected ROLE=COLUMN with one of ${roles.join(", ")} as role, got "${part}"`, {
        hint: "for example --columns instruction=question,output=answer",
        exitCode: 2,
      });
    }
    columns[role as Role] = column;
  }
  return columns;
}

/** How data sets of preferences call the better of two answers. */
const preferred = ["chosen", "preferred"];

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}

/** Names that a person can act on: what was found and how to say what it means. */
export class ColumnsError extends Error {
  readonly hint: string;
  constructor(found: string[], why: string, hint?: string) {
    const shown = found.slice(0, 20).map((name) => oneLine(name).slice(0, 60)).join(", ") || "none";
    super(`${oneLine(why)}; the columns are ${shown}${found.length > 20 ? ", ..." : ""}`);
    this.hint = hint ??
      "say which is which, as in --columns instruction=COLUMN,output=COLUMN (or text=, or messages=)";
  }
}

/** Columns by role. With `mapping`, exactly what it says. Errors: ColumnsError. */
export function rolesOf(found: string[], mapping: Columns | null): Columns {
  if (mapping) {
    const missing = Object.values(mapping).find((column) => !found.includes(column));
    if (missing !== undefined) throw new ColumnsError(found, `there is no column "${missing}"`);
    return mapping;
  }
  const candidates: Partial<Record<Role, string[]>> = {};
  for (const column of found) {
    const role = roleOfName.get(plain(column));
    if (role) (candidates[role] ??= []).push(column);
  }
  const columns: Columns = {};
  const take = (role: Role) => {
    const of = candidates[role] ?? [];
    const column = of.find((name) => plain(name) === role) ?? of[0];
    if (column === undefined) return;
    if (of.length > 1 && plain(column) !== role) {
      throw new ColumnsError(found, `${of.join(" and ")} could both be the ${role}`);
    }
    columns[role] = column;
  };
  // A conversation, or a question with an answer, says more than a text beside it, which is often the same once more.
  if (candidates.messages) {
    for (const role of ["messages", "system", "tools"] as const) take(role);
    return columns;
  }
  const [chosen] = preferred.filter((name) => found.includes(name));
  if (chosen !== undefined && found.includes("rejected") && candidates.output === undefined) {
    throw new ColumnsError(
      found,
      "rows of preferences (DPO and the like) are not learnt",
      `to learn the chosen answers: --columns instruction=${candidates.instruction?.[0] ?? "COLUMN"},output=${chosen}`,
    );
  }
  if (candidates.instruction || (candidates.output && candidates.input)) {
    for (const role of ["instruction", "input", "output", "system", "tools"] as const) take(role);
    if (columns.instruction !== undefined) return columns;
    const { input: instruction, ...rest } = columns;
    return { instruction, ...rest };
  }
  take("text");
  if (columns.text === undefined) {
    throw new ColumnsError(found, "no column is known as a question, a text or a conversation");
  }
  return columns;
}
