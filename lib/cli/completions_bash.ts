/** Completion in bash, 3.2 (of macOS) and newer: one function, and the small ones that know what is there. */
import type { Slot } from "./command_line.ts";
import type { Completed, CompletedCommand, CompletedFlag } from "./completions_words.ts";

export function bashScript({ commands, models }: Completed): string {
  return `# Completion of ftl in bash, made by: ftl completions bash

# Adds those of the words that go on from what was typed.
_ftl_words() {
  local word
  for word; do [[ $word == "$cur"* ]] && COMPREPLY+=("$word"); done
}

# The same for the last one of words with commas between them.
_ftl_list() {
  local word before=
  [[ $cur == *,* ]] && before=\${cur%,*},
  for word; do [[ $before$word == "$cur"* ]] && COMPREPLY+=("$before$word"); done
}

_ftl_paths() {
  local word
  compopt -o filenames 2> /dev/null
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$1" -- "$cur")
}
_ftl_file() { _ftl_paths -f; }
_ftl_folder() { _ftl_paths -d; }

_ftl_run() {
  local word
  for word in runs/*/; do [[ -d $word ]] && _ftl_words "\${word%/}"; done
  _ftl_paths -d
}

# Short names, what Hugging Face's cache holds, and files.
_ftl_model() {
  local word hub=\${HF_HUB_CACHE:-\${HF_HOME:-\${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}
  _ftl_words ${models.join(" ")}
  for word in "$hub"/models--*/; do
    [[ -d $word ]] || continue
    word=\${word%/} word=\${word##*/models--}
    _ftl_words "\${word/--//}"
  done
  _ftl_paths -f
}

_ftl() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]}
  local valued= flags= place=1 i
  COMPREPLY=()
  # bash cuts --name=value into three words.
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  if ((COMP_CWORD == 1)); then
    _ftl_words ${commands.map(({ name }) => name).join(" ")} --help --version
    return
  fi
  case $command in
${commands.map(flagsCase).join("\n")}
    *) return ;;
  esac
  case "$command $prev" in
${commands.flatMap((command) => command.flags.flatMap((flag) => valueCase(command, flag))).join("\n")}
  esac
  if [[ $cur == -* ]]; then
    _ftl_words $flags
    return
  fi
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then
      ((place++))
    elif [[ \${COMP_WORDS[i + 1]} == = ]]; then
      ((i += 2))
    elif [[ $valued == *" \${COMP_WORDS[i]} "* ]]; then
      ((i++))
    fi
  done
  case "$command $place" in
${commands.flatMap(placeCases).join("\n")}
  esac
}
complete -F _ftl ftl`;
}

function flagsCase({ name, flags }: CompletedCommand): string {
  const names = flags.flatMap(({ names }) => names.slice(-1));
  const valued = flags.filter(({ value }) => value !== null).flatMap(({ names }) => names);
  return `    ${name}) valued=" ${valued.join(" ")} " flags="${names.join(" ")}" ;;`;
}

function valueCase({ name }: CompletedCommand, { names, value }: CompletedFlag): string[] {
  if (value === null) return [];
  const what = value.isList ? [`_ftl_list ${value.words!.join(" ")}`] : finders(value);
  return [`    ${names.map((flag) => `"${name} ${flag}"`).join(" | ")}) ${[...what, "return"].join("; ")} ;;`];
}

function placeCases({ name, takes }: CompletedCommand): string[] {
  return takes.map((slot, i) => {
    const place = i === takes.length - 1 ? `"${name} "*` : `"${name} ${i + 1}"`;
    return `    ${place}) ${finders(slot).join("; ") || ":"} ;;`;
  });
}

function finders({ words = [], kinds = [] }: Slot): string[] {
  return [...words.length > 0 ? [`_ftl_words ${words.join(" ")}`] : [], ...kinds.map((kind) => `_ftl_${kind}`)];
}
