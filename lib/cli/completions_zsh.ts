/** Completion in zsh: _arguments with a line for each setting, and functions that know what is there. */
import type { Slot } from "./command_line.ts";
import type { Completed, CompletedCommand, CompletedFlag } from "./completions_words.ts";

export function zshScript({ commands, models }: Completed): string {
  return `#compdef ftl
# Completion of ftl in zsh, made by: ftl completions zsh

_ftl_file() { _files; }
_ftl_folder() { _files -/; }

_ftl_run() {
  local -a found=(runs/*(/N))
  compadd -- $found
  _files -/
}

# Short names, what Hugging Face's cache holds, and files.
_ftl_model() {
  local hub=\${HF_HUB_CACHE:-\${HF_HOME:-\${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}
  local -a found=($hub/models--*(/N:t))
  found=(\${found#models--})
  compadd -- ${models.join(" ")} \${found/--//}
  _files
}

# What may stand in one place: words, or what such a function finds.
_ftl_any() {
  local what
  for what; do
    if ((\${+functions[_ftl_$what]})); then _ftl_$what; else compadd -- $what; fi
  done
}

_ftl() {
  if ((CURRENT == 2)); then
    local -a commands=(
${commands.map(({ name, what }) => `      ${quoted(`${name}:${what}`)}`).join("\n")}
    )
    _describe command commands
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
${commands.map(commandCase).join("\n")}
  esac
}

if [[ $funcstack[1] == _ftl ]]; then _ftl "$@"; else compdef _ftl ftl; fi`;
}

function commandCase({ name, flags, takes }: CompletedCommand): string {
  const places = takes.map((slot, i) => {
    const place = i === takes.length - 1 ? "*" : String(i + 1);
    return quoted(`${place}:${name}:${actionOf(slot)}`);
  });
  const lines = [...flags.map(flagLine), ...places];
  return `    ${name})\n      _arguments -s -S \\\n${lines.map((line) => `        ${line}`).join(" \\\n")}\n      ;;`;
}

/** '(-m --model)'{-m+,--model=}'[help]:name:action' */
function flagLine({ names, what, value, mayRepeat }: CompletedFlag): string {
  const ends = names.map((name) => value === null ? name : name.startsWith("--") ? `${name}=` : `${name}+`);
  const before = mayRepeat ? "'*'" : names.length > 1 ? `'(${names.join(" ")})'` : "";
  const shown = names.length > 1 ? `{${ends.join(",")}}` : ends[0];
  const what_ = `[${what.replaceAll(/[[\]\\]/g, "\\$&")}]`;
  const asked = value === null
    ? ""
    : `:${value.placeholder.replaceAll(":", "\\:")}:${
      value.isList ? `_sequence compadd - ${value.words!.join(" ")}` : actionOf(value)
    }`;
  return `${before}${shown}${quoted(what_ + asked)}`;
}

function actionOf({ words = [], kinds = [] }: Slot): string {
  const all = [...words, ...kinds];
  return all.length === 0 ? " " : ` _ftl_any ${all.join(" ")}`;
}

/** In single quotes, for the shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
