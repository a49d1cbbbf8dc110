/** Making and removing folders; what the operating system says against it becomes a UserError. */
import { fileError } from "./file_error.ts";

/** Makes the folder and those above it, where they are missing. */
export function makeFolder(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true });
  } catch (error) {
    throw fileError(error, { action: "make the folder", path });
  }
}

/** Removes the folder with everything in it. */
export function removeFolder(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    throw fileError(error, { action: "remove the folder", path });
  }
}
