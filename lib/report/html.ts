/** HTML whose parts are escaped unless they are HTML themselves, so that no answer of a model becomes markup. */

export class Html {
  constructor(readonly text: string) {}
}

export type Part = Html | string | number | null | undefined | false | Part[];

/** html`<p>${anything}</p>`: texts are escaped, lists joined, null, undefined and false are nothing. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(strings.reduce((text, string, i) => text + show(parts[i - 1]) + string));
}

/** Text that is HTML already, made by this program. */
export function raw(text: string): Html {
  return new Html(text);
}

export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function show(part: Part): string {
  if (part === null || part === undefined || part === false) return "";
  if (Array.isArray(part)) return part.map(show).join("");
  return part instanceof Html ? part.text : escape(String(part));
}
