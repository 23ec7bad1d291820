import { templateOf } from "../units/unit-name.ts";
import { type Amounts, lacking, reserved } from "./capacity.ts";
import type { Dirty } from "./dirty.ts";
import { isPlacedOn, type MachineEntry, type UnitEntry } from "./entries.ts";
import type { Constraints } from "./relations.ts";

interface Waiting {
  readonly unit: UnitEntry;
  readonly constraints: Constraints;
}

export interface RoomChange {
  /** Before. */
  readonly used: Amounts;
  /** The unit that has come to the machine or left it. */
  readonly changed: string | undefined;
}

/** Waiting units that reserve resources or limit instances: found when a machine comes to have, or not to have, what they need. */
export class WaitingRoom {
  readonly #reserving = new Map<string, Waiting>();
  /** By template. */
  readonly #limited = new Map<string, Map<string, Waiting>>();

  remove(name: string): void {
    this.#reserving.delete(name);
    const template = templateOf(name);
    if (template === undefined) return;
    const limited = this.#limited.get(template);
    if (limited?.delete(name) && limited.size === 0) this.#limited.delete(template);
  }

  add(waiting: Waiting): void {
    const { name } = waiting.unit;
    const { maxPerMachine, reservation } = waiting.constraints.requirements;
    if (reservation !== undefined) this.#reserving.set(name, waiting);
    const template = maxPerMachine === undefined ? undefined : templateOf(name);
    if (template === undefined) return;
    const limited = this.#limited.get(template);
    if (limited === undefined) this.#limited.set(template, new Map([[name, waiting]]));
    else limited.set(name, waiting);
  }

  mark(machine: MachineEntry, { used, changed }: RoomChange, dirty: Dirty): void {
    if (this.#reserving.size > 0 && used !== machine.used) {
      const { presence } = machine;
      for (const { unit, constraints } of this.#reserving.values()) {
        if (isSettled(unit, machine)) continue;
        const wanted = reserved([constraints], machine);
        const did = lacking(wanted, { presence, used }) === undefined;
        const does = lacking(wanted, machine) === undefined;
        // With others tied to it, it needs more than it says itself.
        const isTied = constraints.requirements.machineOf.length > 0 || unit.followers.size > 0;
        if (did !== does || isTied) dirty.units.add(unit.name);
      }
    }
    const template =
      this.#limited.size === 0 || changed === undefined ? undefined : templateOf(changed);
    if (template === undefined) return;
    for (const { unit } of this.#limited.get(template)?.values() ?? []) {
      if (!isSettled(unit, machine)) dirty.units.add(unit.name);
    }
  }
}

function isSettled(unit: UnitEntry, machine: MachineEntry): boolean {
  return isPlacedOn(unit, machine) || unit.assignedTo.has(machine.id);
}
