/** All files below a folder, links to files among them, as sorted paths with "/"; none where there is no folder. */
export function filesBelow(folder: string): string[] {
  const found: string[] = [];
  const walk = (below: string) => {
    for (const entry of Deno.readDirSync(`${folder}/${below}`)) {
      if (entry.isDirectory) walk(`${below}${entry.name}/`);
      else found.push(below + entry.name);
    }
  };
  try {
    walk("");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort();
}
