import { templateOf } from "../units/unit-name.ts";
import { type Amounts, lacking, reserved } from "./capacity.ts";
import type { Dirty } from "./dirty.ts";
import type { MachineEntry } from "./entries.ts";
import type { Constraints } from "./relations.ts";

interface Waiting {
  readonly name: string;
  readonly constraints: Constraints;
}

export interface RoomChange {
  readonly used: Amounts;
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

  add(unit: Waiting): void {
    const { maxPerMachine, reservation } = unit.constraints.requirements;
    if (reservation !== undefined) this.#reserving.set(unit.name, unit);
    const template = maxPerMachine === undefined ? undefined : templateOf(unit.name);
    if (template === undefined) return;
    const limited = this.#limited.get(template);
    if (limited === undefined) this.#limited.set(template, new Map([[unit.name, unit]]));
    else limited.set(unit.name, unit);
  }

  /**
   * `used`: before. `changed`: the unit that has come to the machine or left it. `isTied`: others follow it, so that it needs more
   * than it says itself.
   */
  mark(
    machine: MachineEntry,
    change: RoomChange & { readonly isTied: (unit: string) => boolean },
    dirty: Dirty,
  ): void {
    const { used, changed, isTied } = change;
    if (this.#reserving.size > 0 && used !== machine.used) {
      const { presence } = machine;
      for (const unit of this.#reserving.values()) {
        if (isSettled(unit, machine)) continue;
        const wanted = reserved([unit.constraints], presence?.record.capacity);
        const did = lacking(wanted, { presence, used }) === undefined;
        const does = lacking(wanted, machine) === undefined;
        const { machineOf } = unit.constraints.requirements;
        if (did !== does || machineOf.length > 0 || isTied(unit.name)) dirty.units.add(unit.name);
      }
    }
    const template =
      this.#limited.size === 0 || changed === undefined ? undefined : templateOf(changed);
    if (template === undefined) return;
    for (const unit of this.#limited.get(template)?.values() ?? []) {
      if (!isSettled(unit, machine)) dirty.units.add(unit.name);
    }
  }
}

function isSettled({ name }: Waiting, machine: MachineEntry): boolean {
  return machine.placed.has(name) || machine.assignments.has(name);
}
