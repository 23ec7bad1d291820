import { isWanted, type UnitEntry } from "../cluster/entries.ts";
import { type BlockedReason, type BlockedSpec, compareText } from "../cluster/facts.ts";
import type { MachineReason, UnitReason } from "../cluster/reason.ts";
import type { EngineTask } from "./tasks.ts";

const EXAMPLES_MAX = 3;

/** A reason that lies with the unit itself, whatever the machine. */
export function unitReason(reason: UnitReason | MachineReason): readonly BlockedReason[] {
  return [{ reason, machines: 0, examples: [] }];
}

/** Counts reasons by kind; machines have to come in order of id, so that the examples do not depend on anything else. */
export class ReasonCounter {
  readonly #kinds = new Map<
    string,
    { reason: MachineReason; machines: number; examples: string[]; varied?: true }
  >();

  add(machineId: string, reason: MachineReason): void {
    const kind = this.#kinds.get(reason.type);
    if (kind === undefined) {
      this.#kinds.set(reason.type, { reason, machines: 1, examples: [machineId] });
      return;
    }
    kind.machines += 1;
    if (kind.varied !== true && !isDeepEqual(kind.reason, reason)) kind.varied = true;
    if (kind.examples.length < EXAMPLES_MAX) kind.examples.push(machineId);
  }

  /** Most frequent first. */
  reasons(): readonly BlockedReason[] {
    return [...this.#kinds.values()].sort(
      (a, b) => b.machines - a.machines || compareText(a.reason.type, b.reason.type),
    );
  }
}

function isDeepEqual(one: MachineReason, other: MachineReason): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

/** How often a blocked record is rewritten at most. */
export const BLOCKED_INTERVAL_MS = 5_000;

/** What to write of a unit's reasons: a task, nothing, or `later` because it was written just now. */
export function blockedTask(
  unit: UnitEntry | undefined,
  options: {
    readonly reasons: readonly BlockedReason[];
    readonly wallMs: number;
    /** Since the last write, when the engine remembers one. */
    readonly sinceWriteMs: number | undefined;
  },
): EngineTask | "later" | undefined {
  if (unit === undefined) return undefined;
  const { reasons, wallMs, sinceWriteMs } = options;
  const known = unit.blocked?.record;
  if (reasons.length === 0 || !isWanted(unit)) {
    return known === undefined ? undefined : { type: "unblock", unit: unit.name };
  }
  const identity = unit.unit.createRevision;
  if (known === undefined || known.identity !== identity) {
    return block(unit.name, { ...known, identity, sinceMs: wallMs, reasons });
  }
  if (kindsOf(known) === kindsOf({ reasons })) return undefined;
  if (sinceWriteMs !== undefined && sinceWriteMs < BLOCKED_INTERVAL_MS) return "later";
  return block(unit.name, { ...known, reasons });
}

function block(unit: string, record: BlockedSpec): EngineTask {
  return { type: "block", unit, record };
}

/** Of machines only the kind counts: numbers and examples may lag behind. */
function kindsOf({ reasons }: Pick<BlockedSpec, "reasons">): string {
  return reasons
    .map(({ reason, machines }) => (machines > 0 ? reason.type : JSON.stringify(reason)))
    .sort()
    .join("\n");
}
