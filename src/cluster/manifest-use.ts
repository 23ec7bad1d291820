import { assignmentOn, type MachineEntry, type UnitEntry } from "./entries.ts";
import type { ManifestTable } from "./manifest-table.ts";

/** A manifest is in use by the unit's own record, and by assignments and states that name another than that does. */
export class ManifestUse {
  readonly #manifests: ManifestTable;
  readonly #machines: ReadonlyMap<string, MachineEntry>;

  constructor(manifests: ManifestTable, machines: ReadonlyMap<string, MachineEntry>) {
    this.#manifests = manifests;
    this.#machines = machines;
  }

  /** The unit's record is about to name this manifest. */
  setOwn(unit: UnitEntry, after: string | undefined): void {
    const before = unit.unit?.record.manifest;
    if (before === after) return;
    const held = this.#held(unit);
    for (const manifest of held) {
      if (manifest === before) this.#count(unit.name, undefined, before);
    }
    this.#count(unit.name, before, after);
    for (const manifest of held) {
      if (manifest === after) this.#count(unit.name, after, undefined);
    }
  }

  /** An assignment or a state of the unit comes to name another manifest. */
  setHeld(unit: UnitEntry, before: string | undefined, after: string | undefined): void {
    if (before === after) return;
    const own = unit.unit?.record.manifest;
    this.#count(unit.name, before === own ? undefined : before, after === own ? undefined : after);
  }

  #held(unit: UnitEntry): readonly (string | undefined)[] {
    if (unit.assignedTo.size === 0 && unit.statesOn.size === 0) return NOTHING;
    const held: (string | undefined)[] = [];
    for (const id of unit.assignedTo) held.push(assignmentOn(unit, id)?.record.manifest);
    for (const id of unit.statesOn) {
      held.push(this.#machines.get(id)?.states.get(unit.name)?.record.manifest);
    }
    return held;
  }

  #count(unit: string, before: string | undefined, after: string | undefined): void {
    if (before === after) return;
    if (after !== undefined) this.#manifests.addUser(after, unit);
    if (before !== undefined) this.#manifests.removeUser(before, unit);
  }
}

const NOTHING: readonly string[] = [];
