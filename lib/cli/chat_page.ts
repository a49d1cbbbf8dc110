/** The chat page that a server shows at its root: templates/chat.html. */

/** Null where this program came without it. */
export function chatPage(): string | null {
  try {
    return Deno.readTextFileSync(new URL("../../templates/chat.html", import.meta.url));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
