import type { UnitView } from "../cluster/views.ts";

/** The folder of the unit's file in the tree that it comes from, empty at its top; undefined for units that no sync made. */
export function groupOf({ source }: UnitView): string | undefined {
  if (source === undefined) return undefined;
  const end = source.path.lastIndexOf("/");
  return end === -1 ? "" : source.path.slice(0, end);
}

/** `web/`: how commands name a group. */
export function isGroupWord(word: string): boolean {
  return /^[^/].*\/$/.test(word);
}

/** Units of the group and of those below it, in the order given; `web/` as well as `SOURCE/web/`. */
export function unitsOfGroup(word: string, units: readonly UnitView[]): readonly UnitView[] {
  return units.filter((unit) => {
    const group = groupOf(unit);
    if (group === undefined) return false;
    const path = group === "" ? "" : `${group}/`;
    return path.startsWith(word) || `${unit.source?.name}/${path}`.startsWith(word);
  });
}
