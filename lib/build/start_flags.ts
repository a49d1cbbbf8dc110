/**
 * How the one file starts Deno: its start scripts do it with these, and the program itself for a command that is to be a
 * process of its own. No configuration of the machine is read, and no module that is not in the file.
 */
export const startFlags = [
  "--quiet",
  "--allow-all",
  "--no-config",
  "--no-lock",
  "--no-remote",
  "--cached-only",
  "--node-modules-dir=manual",
  "--no-prompt",
  "--unstable-no-legacy-abort",
];
