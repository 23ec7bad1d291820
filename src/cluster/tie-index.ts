import type { Dirty } from "./dirty.ts";
import { knownConstraints, type MachineEntry, type UnitEntry } from "./entries.ts";
import { type Constraints, mentions, NamingIndex, type Neighbour, speaks } from "./relations.ts";
import { type RoomChange, WaitingRoom } from "./waiting-room.ts";

/** Finds the units that a change of another unit concerns, without asking all of them. */
export class TieIndex {
  /** Units that take any place that becomes free: blocked ones, and global ones everywhere. */
  readonly #waiting = new Set<string>();
  readonly #naming = new NamingIndex();
  /** Those of them whose patterns mean other units on other machines. */
  readonly #perMachine = new Set<string>();
  readonly #room = new WaitingRoom();

  /** Waiting units that cannot be beside `subject`, by what they say or by what it says. */
  markWaiting(subject: Neighbour, dirty: Dirty): void {
    this.#naming.markNaming(subject.name, dirty.units);
    for (const unit of this.#perMachine) dirty.units.add(unit);
    if (!speaks(subject)) return;
    for (const unit of this.#waiting) if (mentions(subject, unit)) dirty.units.add(unit);
  }

  /** Waiting units for which there is room on the machine now, or no more. */
  markRoom(machine: MachineEntry, change: RoomChange, dirty: Dirty): void {
    this.#room.mark(machine, change, dirty);
  }

  /** `before`: the constraints it is indexed by, if it is waiting already. */
  refreshWaiting(unit: UnitEntry, before: Constraints | undefined): void {
    const { name } = unit;
    if (this.#waiting.delete(name) && before !== undefined) {
      this.#naming.remove(name, before);
      this.#perMachine.delete(name);
      this.#room.remove(name);
    }
    if (unit.blocked === undefined && unit.unit?.record.global !== true) return;
    this.#waiting.add(name);
    const after = knownConstraints(unit);
    if (after === undefined) return;
    this.#naming.add(name, after);
    if (after.isPerMachine) this.#perMachine.add(name);
    this.#room.add({ unit, constraints: after });
  }
}

/** Units that have to be on the same machine, both ways. */
export function markTied(unit: UnitEntry, dirty: Dirty): void {
  if (unit.followers.size > 0) {
    for (const follower of unit.followers) dirty.units.add(follower);
  }
  const constraints = knownConstraints(unit);
  if (constraints === undefined) return;
  for (const peer of constraints.requirements.machineOf) dirty.units.add(peer);
}
