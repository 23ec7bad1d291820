import type { Dirty } from "./dirty.ts";
import { isNameTaken, type MachineEntry, type UnitEntry } from "./entries.ts";
import type { StateSpec, Versioned } from "./facts.ts";

const NOBODY: ReadonlySet<string> = new Set();

/** Which machines are drained, and which units are on their way from one machine to another. */
export class MoveIndex {
  readonly #draining = new Set<string>();
  /** Machine -> units that have left it, until their start elsewhere has come to an end. */
  readonly #movingFrom = new Map<string, Set<string>>();

  get draining(): ReadonlySet<string> {
    return this.#draining;
  }

  movingFrom(machineId: string): ReadonlySet<string> {
    return this.#movingFrom.get(machineId) ?? NOBODY;
  }

  /** True if that is news. */
  setDraining({ id, operator }: MachineEntry): boolean {
    const isDrained = operator?.record.draining === true;
    if (isDrained === this.#draining.has(id)) return false;
    if (isDrained) this.#draining.add(id);
    else this.#draining.delete(id);
    return true;
  }

  /** The unit's placement has changed. Gives back the machine that it is no longer on its way from. */
  setFrom(unit: UnitEntry, before: string | undefined): string | undefined {
    const after = unit.placement?.record.moving?.from;
    if (before === after) return undefined;
    if (after !== undefined) {
      const units = this.#movingFrom.get(after);
      if (units === undefined) this.#movingFrom.set(after, new Set([unit.name]));
      else units.add(unit.name);
    }
    if (before === undefined) return undefined;
    const units = this.#movingFrom.get(before);
    if (units?.delete(unit.name) && units.size === 0) this.#movingFrom.delete(before);
    return before;
  }

  /** A unit has got where it was to get, or has given up going there: those behind it have their turn. */
  markNext(machineId: string, machine: MachineEntry | undefined, dirty: Dirty): void {
    if (!this.#draining.has(machineId)) return;
    for (const { name } of machine?.placed ?? []) dirty.units.add(name);
    if ((machine?.placed.length ?? 0) === 0) dirty.machines.add(machineId);
  }

  /** Whether what systemd says of the unit on this machine decides what moves next. */
  isMoving({ placement }: UnitEntry, machineId: string): boolean {
    if (placement?.record.machine !== machineId) return false;
    return placement.record.moving !== undefined || this.#draining.has(machineId);
  }
}

/** Whether the two differ in what the machine has of the unit, whatever has become of it. */
export function isOtherHold(
  before: Versioned<StateSpec> | undefined,
  after: Versioned<StateSpec> | undefined,
): boolean {
  const [one, other] = [before?.record, after?.record];
  return (
    one?.identity !== other?.identity ||
    one?.manifest !== other?.manifest ||
    one?.update !== other?.update ||
    (one === undefined) !== (other === undefined) ||
    isNameTaken(before) !== isNameTaken(after)
  );
}

/** Whether the two may differ in what has become of the start. */
export function isOtherStart(
  before: Versioned<StateSpec> | undefined,
  after: Versioned<StateSpec> | undefined,
): boolean {
  const [one, other] = [before?.record, after?.record];
  return (
    one?.current !== other?.current ||
    one?.active !== other?.active ||
    one?.result !== other?.result ||
    one?.start?.restarts !== other?.start?.restarts ||
    one?.start?.outcome !== other?.start?.outcome ||
    (one?.error === undefined) !== (other?.error === undefined)
  );
}
