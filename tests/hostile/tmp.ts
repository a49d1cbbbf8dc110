import { templateRows } from "./template_corpus.ts";
import { readers } from "./readers.ts";
import { execute } from "./fuzz.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
const r = readers.find((r) => r.name === "chat template")!;
for (const row of templateRows) {
  const b = performance.now();
  const o = await execute(r, row.bytes());
  let text = "";
  try {
    text = "=> " +
      renderChat(new TextDecoder().decode(row.bytes()), { messages: [{ role: "user", content: "Hi" }], source: "m" });
  } catch (e) {
    text = (e as Error).message;
  }
  const ok = row.says === "read" ? text === "=> " : row.says.test(text) || row.says.test(text.replace("=> ", ""));
  console.log(
    ok && !o.fault ? "ok " : "BAD",
    row.class,
    "|",
    text.slice(0, 150),
    "|",
    o.fault ?? "",
    Math.round(performance.now() - b),
  );
}
