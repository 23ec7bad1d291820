import type { UnitChange } from "../cluster/unit-change.ts";
import { reservedNameReason } from "../units/reserved-names.ts";
import { isTemplate, validateUnitName } from "../units/unit-name.ts";
import { isDesiredState } from "../units/unit-state.ts";
import { type CheckedManifest, checkManifest } from "./manifest-check.ts";

/** A change whose own text is in order; what the registry says of it is another matter. */
export interface CheckedChange {
  readonly change: UnitChange;
  /** Of a submit with content. */
  readonly manifest: CheckedManifest | undefined;
}

export type ChangesCheck =
  | { readonly type: "ok"; readonly checked: readonly CheckedChange[] }
  /** `message` says where in the unit file, `plain` only what. */
  | {
      readonly type: "invalid";
      readonly name: string;
      readonly message: string;
      readonly plain: string;
    };

/** Everything that can be said against changes without asking the registry. */
export function checkChanges(changes: readonly UnitChange[]): ChangesCheck {
  const checked: CheckedChange[] = [];
  for (const change of changes) {
    const message = nameProblem(change) ?? desiredProblem(change);
    if (message !== undefined)
      return { type: "invalid", name: change.name, message, plain: message };
    if (change.type !== "submit" || change.content === undefined) {
      checked.push({ change, manifest: undefined });
      continue;
    }
    const manifest = checkManifest(change.name, {
      content: change.content,
      dropIns: change.dropIns ?? [],
      lenient: change.lenient === true,
    });
    if (manifest.type === "invalid") return { ...manifest, name: change.name };
    checked.push({ change, manifest });
  }
  return { type: "ok", checked };
}

function nameProblem(change: UnitChange): string | undefined {
  const problem = validateUnitName(change.name);
  if (problem !== undefined) return problem;
  // Only here: a unit that an older version took must still be destroyable.
  const why = change.type === "submit" ? reservedNameReason(change.name) : undefined;
  return why === undefined ? undefined : `unit name "${change.name}" is reserved: ${why}`;
}

function desiredProblem(change: UnitChange): string | undefined {
  if (change.type === "submit" && change.content === undefined && change.dropIns !== undefined) {
    return "drop-ins are given without the unit file they belong to";
  }
  const desired = change.type === "desire" || change.type === "submit" ? change.desired : undefined;
  if (desired === undefined) return undefined;
  if (!isDesiredState(desired)) {
    return `invalid desired state "${desired}": expect inactive, loaded or launched`;
  }
  if (desired !== "inactive" && isTemplate(change.name)) {
    return `cannot activate template "${change.name}"`;
  }
  return undefined;
}
