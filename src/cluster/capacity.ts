import type { Amount, Reservation } from "../units/requirements.ts";
import type { MachineSpec } from "./facts.ts";
import type { Constraints } from "./relations.ts";

export type Resource = "memory" | "cpu" | "tasks";

/** Whole numbers, so that sums do not depend on the order: bytes, ten-thousandths of a core (as fine as CPUQuota=), tasks. */
export type Amounts = Readonly<Record<Resource, number>>;

const RESOURCES: readonly Resource[] = ["memory", "cpu", "tasks"];

const NOTHING: Amounts = { memory: 0, cpu: 0, tasks: 0 };
const PER_CORE = 10_000;
/** More than any machine has, and few enough that sums stay exact. */
const AMOUNT_MAX = 2 ** 48;

/** What units with these constraints take of the machine; of several versions of one unit the larger counts. */
export function reserved(
  constraints: readonly Constraints[],
  machine: { readonly presence: { readonly record: MachineSpec } | undefined },
): Amounts {
  let sum = NOTHING;
  for (const { requirements } of constraints) {
    if (requirements.reservation === undefined) continue;
    const wanted = amountsOf(requirements.reservation, machine.presence?.record.capacity);
    sum = combine(sum, wanted, Math.max);
  }
  return sum;
}

export type Capacity = MachineSpec["capacity"];

export function plus(one: Amounts, other: Amounts): Amounts {
  return other === NOTHING ? one : combine(one, other, (a, b) => a + b);
}

export function minus(one: Amounts, other: Amounts): Amounts {
  return other === NOTHING ? one : combine(one, other, (a, b) => a - b);
}

export { NOTHING as NOTHING_RESERVED };

/** The first resource of which less than wanted is free. */
export function lacking(
  wanted: Amounts,
  machine: {
    readonly presence: { readonly record: MachineSpec } | undefined;
    readonly used: Amounts;
  },
): { readonly resource: Resource; readonly wanted: number; readonly free: number } | undefined {
  const spec = machine.presence?.record;
  if (spec === undefined || wanted === NOTHING) return undefined;
  const whole = wholeAmounts(spec.capacity);
  for (const resource of RESOURCES) {
    // A machine that does not know how much it has gives as much as is wanted.
    if (wanted[resource] === 0 || whole[resource] === 0) continue;
    const given = Math.floor(whole[resource] * (spec.overcommit?.[resource] ?? 1));
    const free = given - machine.used[resource];
    if (wanted[resource] <= free) continue;
    const unit = resource === "cpu" ? PER_CORE : 1;
    return { resource, wanted: wanted[resource] / unit, free: Math.max(0, free) / unit };
  }
  return undefined;
}

function amountsOf(reservation: Reservation, capacity: Capacity | undefined): Amounts {
  const whole = wholeAmounts(capacity);
  return {
    memory: amountOf(reservation.memory, whole.memory),
    cpu: Math.round((reservation.cores ?? 0) * PER_CORE),
    tasks: amountOf(reservation.tasks, whole.tasks),
  };
}

function amountOf(amount: Amount | undefined, whole: number): number {
  if (amount === undefined) return 0;
  const wanted = amount.type === "absolute" ? amount.amount : amount.ratio * whole;
  return Math.min(Math.ceil(wanted), AMOUNT_MAX);
}

function wholeAmounts(capacity: Capacity | undefined): Amounts {
  if (capacity === undefined) return NOTHING;
  return { memory: capacity.memoryBytes, cpu: capacity.cpus * PER_CORE, tasks: capacity.tasks };
}

function combine(one: Amounts, other: Amounts, by: (a: number, b: number) => number): Amounts {
  return {
    memory: by(one.memory, other.memory),
    cpu: by(one.cpu, other.cpu),
    tasks: by(one.tasks, other.tasks),
  };
}
