import type { Dirty } from "./dirty.ts";
import { knownConstraints, type MachineEntry, type UnitEntry } from "./entries.ts";
import { type Constraints, matches, NamingIndex, type Neighbour } from "./relations.ts";
import { type RoomChange, WaitingRoom } from "./waiting-room.ts";

const NOBODY: ReadonlySet<string> = new Set();

/** Finds the units that a change of another unit concerns, without asking all of them. */
export class TieIndex {
  /** Units that take any place that becomes free: blocked ones, and global ones everywhere. */
  readonly #waiting = new Set<string>();
  readonly #naming = new NamingIndex();
  /** Those of them whose patterns mean other units on other machines. */
  readonly #perMachine = new Set<string>();
  readonly #room = new WaitingRoom();
  /** Unit -> the units that say MachineOf= it. */
  readonly #followers = new Map<string, Set<string>>();

  followers(unit: string): ReadonlySet<string> {
    return this.#followers.get(unit) ?? NOBODY;
  }

  /** Units that have to be on the same machine, both ways. */
  markTied(unit: UnitEntry, dirty: Dirty): void {
    for (const follower of this.followers(unit.name)) dirty.units.add(follower);
    for (const peer of knownConstraints(unit)?.requirements.machineOf ?? []) dirty.units.add(peer);
  }

  /** Waiting units that cannot be beside `subject`, by what they say or by what it says. */
  markWaiting(subject: Neighbour, speaks: boolean, dirty: Dirty): void {
    this.#naming.forEachNaming(subject.name, (unit) => dirty.units.add(unit));
    for (const unit of this.#perMachine) dirty.units.add(unit);
    if (!speaks) return;
    for (const unit of this.#waiting) {
      if (subject.constraints.some((own) => namesUnit(own, unit))) dirty.units.add(unit);
    }
  }

  /** Waiting units for which there is room on the machine now, or no more. */
  markRoom(machine: MachineEntry, change: RoomChange, dirty: Dirty): void {
    const isTied = (unit: string) => this.followers(unit).size > 0;
    this.#room.mark(machine, { ...change, isTied }, dirty);
  }

  /** The unit's constraints have changed. */
  setConstraints(
    name: string,
    before: Constraints | undefined,
    after: Constraints | undefined,
  ): void {
    for (const peer of before?.requirements.machineOf ?? []) {
      const followers = this.#followers.get(peer);
      if (followers?.delete(name) && followers.size === 0) this.#followers.delete(peer);
    }
    for (const peer of after?.requirements.machineOf ?? []) {
      const followers = this.#followers.get(peer);
      if (followers === undefined) this.#followers.set(peer, new Set([name]));
      else followers.add(name);
    }
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
    this.#room.add({ name, constraints: after });
  }
}

function namesUnit(constraints: Constraints, unit: string): boolean {
  return matches(constraints.conflicts, unit) || matches(constraints.replaces, unit);
}
