/** `ftl train`. */
export function command(_args: string[]): Promise<number> {
  return Promise.resolve(1);
}
