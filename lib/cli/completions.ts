/** `ftl completions`: the script that makes a shell complete ftl's commands, settings and names. */
import { UserError } from "../errors.ts";
import { models } from "../hub/models.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { commandShapes } from "./commands.ts";
import { bashScript } from "./completions_bash.ts";
import { fishScript } from "./completions_fish.ts";
import { completed } from "./completions_words.ts";
import { zshScript } from "./completions_zsh.ts";

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript };

export const shape: CommandShape = {
  name: "completions",
  summary:
    "Prints a script that makes a shell complete ftl: commands, settings and their words, files, run folders, and " +
    "the names of models that are in the caches. What is in the caches is looked up by the shell itself, at once and " +
    "without a network.",
  usage: "<bash | zsh | fish>",
  most: 1,
  takes: [{ words: Object.keys(scripts) }],
  examples: [
    ["ftl completions bash > ~/.local/share/bash-completion/completions/ftl", "bash, with its package bash-completion"],
    ['eval "$(ftl completions bash)"', "bash without it, in ~/.bashrc"],
    ["ftl completions zsh > ~/.zfunc/_ftl", "zsh, where fpath=(~/.zfunc $fpath) stands above compinit in ~/.zshrc"],
    ["ftl completions fish > ~/.config/fish/completions/ftl.fish", "fish"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  settingsOf("completions", line);
  const [shell] = line.positional;
  if (shell === undefined || !Object.hasOwn(scripts, shell)) {
    const known = Object.keys(scripts).join(", ");
    throw new UserError(
      shell === undefined ? "Name a shell" : `Cannot write completions for ${JSON.stringify(shell)}`,
      { hint: `the shells are ${known}`, exitCode: 2 },
    );
  }
  const words = completed(await commandShapes(), { models: Object.keys(models) });
  console.log(scripts[shell as keyof typeof scripts](words));
  return 0;
}
