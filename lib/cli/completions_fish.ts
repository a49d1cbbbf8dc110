/** Completion in fish: a line for each command, setting and place, and functions that know what is there. */
import type { Slot } from "./command_line.ts";
import type { Completed, CompletedCommand, CompletedFlag } from "./completions_words.ts";

export function fishScript({ commands, models }: Completed): string {
  return `# Completion of ftl in fish, made by: ftl completions fish

# Whether the command is this one; without one, whether a command is wanted.
function __ftl_is
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

# Whether this place of the command's arguments is wanted ("2"), or it or a later one ("2+").
# The flags that take a value follow.
function __ftl_place
    set -l words (commandline -opc)
    set -l place 1
    set -l skip 0
    for word in $words[3..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word $argv[2..-1]; and set skip 1
        else
            set place (math $place + 1)
        end
    end
    test $place = $argv[1]; or string match -q -- '*+' $argv[1]; and test $place -ge (string trim -c + -- $argv[1])
end

# Words with commas between them: what was typed, with each of the words behind the last comma.
function __ftl_list
    set -l typed (string replace -r -- '^--?[^=]*=' '' (commandline -ct))
    set -l before (string match -r -- '^.*,' $typed)
    for word in $argv
        echo $before$word
    end
end

function __ftl_run
    for folder in runs/*/
        string trim -r -c / -- $folder
    end
    __fish_complete_directories (commandline -ct) ''
end

function __ftl_folder
    __fish_complete_directories (commandline -ct) ''
end

# Short names and what Hugging Face's cache holds; fish adds files itself.
function __ftl_model
    set -l home $HOME/.cache
    set -q XDG_CACHE_HOME; and test -n "$XDG_CACHE_HOME"; and set home $XDG_CACHE_HOME
    set home $home/huggingface
    set -q HF_HOME; and test -n "$HF_HOME"; and set home $HF_HOME
    set -l hub $home/hub
    set -q HF_HUB_CACHE; and test -n "$HF_HUB_CACHE"; and set hub $HF_HUB_CACHE
    printf '%s\\n' ${models.join(" ")}
    for folder in $hub/models--*/
        string replace -- -- / (string replace -r -- '^.*/models--(.*)/$' '$1' $folder)
    end
end

complete -c ftl -f
${commands.map(({ name, what }) => `complete -c ftl -n '__ftl_is ""' -a ${name} -d ${quoted(what)}`).join("\n")}
${
    commands.flatMap((command) => [...command.flags.map((flag) => flagLine(command, flag)), ...placeLines(command)])
      .join("\n")
  }`;
}

function flagLine({ name }: CompletedCommand, { names, what, value }: CompletedFlag): string {
  const shown = names.map((flag) => flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`).join(" ");
  const line = `complete -c ftl -n '__ftl_is ${name}' ${shown} -d ${quoted(what)}`;
  if (value === null) return line;
  const found = value.isList ? `(__ftl_list ${value.words!.join(" ")})` : foundBy(value);
  return `${line} -r ${takesFiles(value) ? "-F" : "-f"}${found === "" ? "" : ` -a ${quoted(found)}`}`;
}

function placeLines({ name, flags, takes }: CompletedCommand): string[] {
  const valued = flags.filter(({ value }) => value !== null).flatMap(({ names }) => names).join(" ");
  return takes.flatMap((slot, i) => {
    if (!slot.words && !slot.kinds) return [];
    const place = `${i + 1}${i === takes.length - 1 ? "+" : ""}`, found = foundBy(slot);
    const here = `complete -c ftl -n '__ftl_is ${name}; and __ftl_place ${place} ${valued}'`;
    return [`${here} ${takesFiles(slot) ? "-F" : "-f"}${found === "" ? "" : ` -a ${quoted(found)}`}`];
  });
}

function takesFiles({ kinds = [] }: Slot): boolean {
  return kinds.includes("file") || kinds.includes("model");
}

/** Words and command substitutions; files are fish's own. */
function foundBy({ words = [], kinds = [] }: Slot): string {
  return [...words, ...kinds.filter((kind) => kind !== "file").map((kind) => `(__ftl_${kind})`)].join(" ");
}

/** In single quotes, for the shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
