import fc from "fast-check";
import { MACHINES_MAX, WORKLOAD } from "./workload.ts";

/** What operators ask for. */
export type Command =
  | "start"
  | "load"
  | "unload"
  | "destroy"
  /** Destroyed and submitted anew at once: another unit of the same name. */
  | "recreate"
  | "replace"
  /** Content that only fleet-ts looks at. */
  | "replace-note"
  | "restart";

/** Machines and units are numbers: positions in the cluster (modulo its size) and in the workload. Faults that last end by themselves. */
export type Action =
  | { readonly type: "command"; readonly command: Command; readonly unit: number }
  | { readonly type: "drain"; readonly machine: number }
  /** It ends a drain, too. */
  | { readonly type: "uncordon"; readonly machine: number }
  /** One move of a rebalance: to the machine, from wherever the unit is. */
  | { readonly type: "move"; readonly machine: number; readonly unit: number }
  /** kill -9 of the daemon; it is started again after `downMs`. */
  | { readonly type: "kill"; readonly machine: number; readonly downMs: number }
  | {
      readonly type: "kill-at";
      readonly machine: number;
      /** Right before or after its effect with this number, counted from now. */
      readonly effect: number;
      readonly moment: "before" | "after";
      readonly downMs: number;
    }
  /** The same for whoever leads. */
  | {
      readonly type: "kill-leader-at";
      readonly effect: number;
      readonly moment: "before" | "after";
      readonly downMs: number;
    }
  | { readonly type: "restart"; readonly machine: number }
  /** Stopped for good: it hands its units over. Started again `downMs` after it has ended. */
  | { readonly type: "stop"; readonly machine: number; readonly downMs: number }
  | { readonly type: "power"; readonly machine: number; readonly offMs: number }
  | { readonly type: "shutdown"; readonly machine: number; readonly offMs: number }
  | { readonly type: "freeze"; readonly machine: number; readonly forMs: number }
  /** Only the daemon stands still (SIGSTOP), not its machine. */
  | { readonly type: "hang"; readonly machine: number; readonly forMs: number }
  | { readonly type: "cut"; readonly machine: number; readonly forMs: number }
  /** Its watches give nothing, while its calls go through. */
  | { readonly type: "deaf"; readonly machine: number; readonly forMs: number }
  | {
      readonly type: "slow";
      readonly machine: number;
      readonly delayMs: number;
      readonly forMs: number;
    }
  | {
      readonly type: "lossy";
      readonly machine: number;
      readonly before: number;
      readonly after: number;
    }
  /** Nobody reaches the registry. */
  | { readonly type: "outage"; readonly forMs: number }
  | { readonly type: "wipe" }
  | { readonly type: "restore"; readonly ageMs: number }
  | { readonly type: "step-clock"; readonly machine: number; readonly deltaMs: number }
  | { readonly type: "bus"; readonly machine: number; readonly forMs: number }
  /** Its systemd takes so long to take a call up. */
  | {
      readonly type: "slow-bus";
      readonly machine: number;
      readonly delayMs: number;
      readonly forMs: number;
    }
  /** The unit's main process dies, wherever it runs. */
  | { readonly type: "crash-unit"; readonly unit: number };

export interface Step {
  readonly afterMs: number;
  readonly action: Action;
}

/** All that a run depends on, as data. */
export interface Plan {
  readonly seed: number;
  readonly machines: number;
  /** Units of the workload that are started first. */
  readonly units: readonly number[];
  readonly steps: readonly Step[];
  /** How long faults still under way go on after the last step. */
  readonly tailMs: number;
}

const MACHINES_MIN = 3;
const STEPS_MAX = 14;

const unit = fc.nat({ max: WORKLOAD.length - 1 });
const machine = fc.nat({ max: MACHINES_MAX - 1 });
const moment = fc.constantFrom("before" as const, "after" as const);
/** Short, or longer than a lease lasts. */
const span = fc.oneof(
  fc.integer({ min: 100, max: 3_000 }),
  fc.integer({ min: 4_000, max: 25_000 }),
);
const effect = fc.integer({ min: 1, max: 40 });

const command = fc.record({
  type: fc.constant("command" as const),
  command: fc.constantFrom<Command>(
    "start",
    "load",
    "unload",
    "destroy",
    "recreate",
    "replace",
    "replace-note",
    "restart",
  ),
  unit,
});

const fault: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ type: fc.constant("kill" as const), machine, downMs: span }),
  fc.record({ type: fc.constant("kill-at" as const), machine, effect, moment, downMs: span }),
  fc.record({ type: fc.constant("kill-at" as const), machine, effect, moment, downMs: span }),
  fc.record({ type: fc.constant("kill-leader-at" as const), effect, moment, downMs: span }),
  fc.record({ type: fc.constant("restart" as const), machine }),
  fc.record({ type: fc.constant("stop" as const), machine, downMs: span }),
  fc.record({ type: fc.constant("power" as const), machine, offMs: span }),
  fc.record({ type: fc.constant("shutdown" as const), machine, offMs: span }),
  fc.record({ type: fc.constant("freeze" as const), machine, forMs: span }),
  fc.record({ type: fc.constant("hang" as const), machine, forMs: span }),
  fc.record({ type: fc.constant("cut" as const), machine, forMs: span }),
  fc.record({ type: fc.constant("deaf" as const), machine, forMs: span }),
  fc.record({
    type: fc.constant("slow" as const),
    machine,
    delayMs: fc.integer({ min: 10, max: 1_200 }),
    forMs: span,
  }),
  fc.record({
    type: fc.constant("lossy" as const),
    machine,
    before: fc.nat({ max: 2 }),
    after: fc.nat({ max: 2 }),
  }),
  fc.record({ type: fc.constant("outage" as const), forMs: span }),
  fc.record({
    type: fc.constant("step-clock" as const),
    machine,
    deltaMs: fc.integer({ min: -86_400_000, max: 86_400_000 }),
  }),
  fc.record({ type: fc.constant("bus" as const), machine, forMs: span }),
  fc.record({
    type: fc.constant("slow-bus" as const),
    machine,
    delayMs: fc.integer({ min: 1, max: 300 }),
    forMs: span,
  }),
  fc.record({ type: fc.constant("crash-unit" as const), unit }),
);

const operation: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ type: fc.constant("drain" as const), machine }),
  fc.record({ type: fc.constant("uncordon" as const), machine }),
  fc.record({ type: fc.constant("move" as const), machine, unit }),
);

const registryFault: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ type: fc.constant("wipe" as const) }),
  fc.record({ type: fc.constant("restore" as const), ageMs: fc.integer({ min: 0, max: 60_000 }) }),
);

const step: fc.Arbitrary<Step> = fc.record({
  afterMs: fc.oneof(fc.integer({ min: 0, max: 1_500 }), fc.integer({ min: 1_500, max: 15_000 })),
  action: fc.oneof(
    { arbitrary: command, weight: 12 },
    { arbitrary: operation, weight: 6 },
    { arbitrary: fault, weight: 12 },
    { arbitrary: registryFault, weight: 1 },
  ),
});

export const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat({ max: 1_000_000 }),
  machines: fc.integer({ min: MACHINES_MIN, max: MACHINES_MAX }),
  units: fc.uniqueArray(unit, { minLength: 4, maxLength: WORKLOAD.length }),
  steps: fc.array(step, { minLength: 1, maxLength: STEPS_MAX }),
  tailMs: fc.nat({ max: 20_000 }),
});

/** One step a line. */
export function planText(plan: Plan): string {
  const units = plan.units.map((index) => WORKLOAD[index]?.name).join(" ");
  const steps = plan.steps.map(({ afterMs, action: { type, ...rest } }) => {
    const fields = Object.entries(rest).map(([name, value]) =>
      name === "unit" ? `unit=${WORKLOAD[Number(value)]?.name}` : `${name}=${value}`,
    );
    return `  after ${afterMs} ms: ${type} ${fields.join(" ")}`;
  });
  const head = `seed ${plan.seed}, ${plan.machines} machines, units ${units}`;
  return [head, ...steps, `  after ${plan.tailMs} ms: all faults end`].join("\n");
}
