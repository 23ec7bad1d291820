/** `npm run check` looks at a part of what `npm test` looks at, where that is a matter of more cases of the same kind. */
export const IS_QUICK = process.env["FLEET_QUICK"] === "1";

/** How many cases a large property is to look at. */
export function quick(runs: number): number {
  return IS_QUICK ? Math.ceil(runs / 4) : runs;
}
