/** Loaded before a program: its clock shows another year whenever it is looked at, later and earlier in turn. */
const now = Date.now.bind(Date), year = 365 * 24 * 3600 * 1000;
let looks = 0;
const jump = () => now() + (++looks % 2 ? 3 : -3) * year;

globalThis.Date = class extends Date {
  constructor(...args: [] | [number | string | Date]) {
    super(args.length === 0 ? jump() : args[0]);
  }
  static override now = jump;
} as DateConstructor;
