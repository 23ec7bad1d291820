import { templateOf } from "../units/unit-name.ts";
import type { CheckedChange } from "./change-check.ts";

/** Each change is at most two operations and one comparison. */
export const GROUP_CHANGES_MAX = 50;
/** etcd takes requests of up to 1.5 MiB. */
export const GROUP_BYTES_MAX = 1_200_000;

/**
 * Cuts a list into runs that fit one transaction and may be decided together: no unit twice, and no instance beside the
 * template that it may take its content from.
 */
export function splitChanges(
  changes: readonly CheckedChange[],
): readonly (readonly CheckedChange[])[] {
  const groups: CheckedChange[][] = [];
  let group: CheckedChange[] = [];
  let names = new Set<string>();
  let hashes = new Set<string>();
  let bytes = 0;
  for (const checked of changes) {
    const { name } = checked.change;
    const template = templateOf(name);
    const { manifest } = checked;
    const added =
      manifest === undefined || hashes.has(manifest.hash) ? 0 : Buffer.byteLength(manifest.encoded);
    const full =
      group.length >= GROUP_CHANGES_MAX ||
      bytes + added > GROUP_BYTES_MAX ||
      names.has(name) ||
      (template !== undefined && names.has(template));
    if (full && group.length > 0) {
      groups.push(group);
      [group, names, hashes, bytes] = [[], new Set(), new Set(), 0];
    }
    group.push(checked);
    names.add(name);
    bytes +=
      manifest === undefined || hashes.has(manifest.hash) ? 0 : Buffer.byteLength(manifest.encoded);
    if (manifest !== undefined) hashes.add(manifest.hash);
  }
  if (group.length > 0) groups.push(group);
  return groups;
}
