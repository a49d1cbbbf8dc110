/** What stands where no question has been asked yet: what this page is for, and something to begin with. */
import { app, isTuned, models } from "./app.js";
import { byId, el, number } from "./dom.js";
import { ask, focusQuestion } from "./thread.js";

const examples = [
  "What is a gamelan?",
  "Explain photosynthesis to a child in three sentences.",
  "Write a Python function that checks whether a word is a palindrome.",
  "Compare tea and coffee in a small table.",
];

export function showEmpty(shown) {
  const empty = byId("empty");
  empty.hidden = !shown;
  if (!shown) return empty.replaceChildren();
  const { compare, models: [left, right] } = app.current;
  const title = compare ? "One question, two answers." : "Ask your own model.";
  empty.replaceChildren(
    compare ? facingPages() : "",
    el("p", { class: "title" }, title),
    el("p", { class: "lead" }, ...lead(compare, left, right)),
    el(
      "ul",
      { class: "examples" },
      ...examples.map((text) =>
        el(
          "li",
          {},
          el("button", {
            type: "button",
            on: {
              click: () => {
                ask(text);
                focusQuestion();
              },
            },
          }, text),
        )
      ),
    ),
  );
}

function lead(compare, left, right) {
  if (models().length === 0) return ["As soon as the server answers, its models can be asked here."];
  if (!compare) {
    const context = app.info.contextLength
      ? ` It sees ${number(app.info.contextLength)} tokens at a time, question and answer together.`
      : "";
    const hint = models().length > 1
      ? " Side by side shows a second model's answer to the same question."
      : " Serve a tuned model beside its base, and both can answer side by side.";
    return [el("b", {}, left), ` runs on this server and sends nothing elsewhere.${context}${hint}`];
  }
  if (isTuned(right) && !isTuned(left)) {
    return [
      el("b", { class: "base" }, left),
      " answers as it was, ",
      el("b", { class: "tuned" }, right),
      " as it is now, side by side. What differs is what the training did.",
    ];
  }
  return [
    el("b", {}, left),
    " answers on the left, ",
    el("b", {}, right),
    " on the right: the same question, told in the same words.",
  ];
}

/** Two pages of lines: the same at the top, another from where training speaks. */
function facingPages() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 216 64");
  svg.setAttribute("class", "facing");
  svg.setAttribute("aria-hidden", "true");
  const line = (kind, x, y, width) => {
    const path = document.createElementNS(space, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", `M${x} ${y}h${width}`);
    svg.append(path);
  };
  [[92], [84], [88], [46]].forEach(([width], row) => line("base", 2, 9 + row * 15, width));
  [[92, 0], [58, 30], [0, 92], [0, 66]].forEach(([kept, changed], row) => {
    if (kept) line("base", 122, 9 + row * 15, kept);
    if (changed) line("tuned", 122 + (kept ? kept + 4 : 0), 9 + row * 15, changed);
  });
  return svg;
}
