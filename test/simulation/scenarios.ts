import type { Action, Plan } from "./plan.ts";
import { WORKLOAD } from "./workload.ts";

export interface Scenario {
  readonly name: string;
  readonly plan: Plan;
}

const ALL = WORKLOAD.map((_, index) => index);

/** Position of a unit of the workload. */
function unit(name: string): number {
  return WORKLOAD.findIndex((work) => work.name === `${name}.service`);
}

function scenario(
  name: string,
  options: {
    machines?: number;
    units?: readonly number[];
    steps: readonly (readonly [afterMs: number, action: Action])[];
    tailMs?: number;
  },
): Scenario {
  const { machines = 3, units = ALL, steps, tailMs = 0 } = options;
  const plan = {
    seed: 1,
    machines,
    units,
    steps: steps.map(([afterMs, action]) => ({ afterMs, action })),
    tailMs,
  };
  return { name, plan };
}

/** What has to go well, by name. */
export const SCENARIOS: readonly Scenario[] = [
  scenario("nothing happens", { steps: [], tailMs: 60_000 }),
  ...[1, 2, 3, 4].flatMap((effect) =>
    (["before", "after"] as const).map((moment) =>
      scenario(`the leader dies ${moment} effect ${effect} of a move`, {
        steps: [
          [5_000, { type: "kill-leader-at", effect, moment, downMs: 20_000 }],
          [0, { type: "stop", machine: 1, downMs: 30_000 }],
        ],
        tailMs: 60_000,
      }),
    ),
  ),
  scenario("a machine is frozen past its lease and thawed", {
    steps: [[5_000, { type: "freeze", machine: 0, forMs: 40_000 }]],
    tailMs: 45_000,
  }),
  scenario("the registry is wiped", { steps: [[10_000, { type: "wipe" }]], tailMs: 30_000 }),
  scenario("the registry is restored from an older state", {
    steps: [
      [10_000, { type: "command", command: "replace", unit: unit("web1") }],
      [1_000, { type: "command", command: "destroy", unit: unit("web2") }],
      [10_000, { type: "restore", ageMs: 15_000 }],
    ],
    tailMs: 30_000,
  }),
  scenario("clocks are stepped", {
    steps: [
      [5_000, { type: "step-clock", machine: 0, deltaMs: 3_600_000 }],
      [0, { type: "step-clock", machine: 1, deltaMs: -86_400_000 }],
      [1_000, { type: "command", command: "restart", unit: unit("web1") }],
      [0, { type: "kill", machine: 0, downMs: 1_000 }],
    ],
    tailMs: 20_000,
  }),
  scenario("etcd is away for two minutes", {
    steps: [[5_000, { type: "outage", forMs: 120_000 }]],
    tailMs: 120_000,
  }),
  scenario("a daemon is dead beyond its lease, then back", {
    steps: [[5_000, { type: "kill", machine: 0, downMs: 30_000 }]],
    tailMs: 40_000,
  }),
  scenario("a machine leaves and hands over", {
    steps: [[5_000, { type: "stop", machine: 0, downMs: 60_000 }]],
    tailMs: 60_000,
  }),
  scenario("two machines of five are lost at once", {
    machines: 5,
    steps: [
      [5_000, { type: "power", machine: 1, offMs: 60_000 }],
      [0, { type: "power", machine: 2, offMs: 60_000 }],
    ],
    tailMs: 60_000,
  }),
  scenario("more than half are lost at once", {
    machines: 5,
    steps: [
      [5_000, { type: "power", machine: 1, offMs: 60_000 }],
      [0, { type: "power", machine: 2, offMs: 60_000 }],
      [0, { type: "power", machine: 3, offMs: 60_000 }],
    ],
    tailMs: 60_000,
  }),
  // What the simulation has found, in the order in which it did.
  scenario("a oneshot ends while its daemon restarts", {
    units: [unit("once")],
    steps: [
      [500, { type: "kill", machine: 0, downMs: 5_000 }],
      [0, { type: "kill", machine: 1, downMs: 5_000 }],
      [0, { type: "kill", machine: 2, downMs: 5_000 }],
    ],
    tailMs: 10_000,
  }),
  scenario("a machine reboots while its old record hangs on a lease of a restored registry", {
    units: [unit("web1"), unit("web2"), unit("once"), unit("db")],
    steps: [
      [1_500, { type: "restore", ageMs: 0 }],
      [0, { type: "shutdown", machine: 0, offMs: 4_000 }],
    ],
  }),
  scenario("a machine that holds nothing rejoins", {
    units: [unit("web1"), unit("web2"), unit("once"), unit("db")],
    steps: [
      [1_500, { type: "wipe" }],
      [1_500, { type: "shutdown", machine: 0, offMs: 100 }],
      [1_500, { type: "command", command: "start", unit: unit("web1") }],
    ],
  }),
  scenario("a daemon dies while it hands over", {
    units: [unit("logger"), unit("fast"), unit("web1"), unit("web2")],
    steps: [
      [0, { type: "kill-at", machine: 0, effect: 6, moment: "after", downMs: 4_000 }],
      [0, { type: "stop", machine: 0, downMs: 100 }],
    ],
    tailMs: 5_000,
  }),
  scenario("a machine boots during an outage", {
    units: [unit("web1"), unit("web2"), unit("once"), unit("db")],
    steps: [
      [1_500, { type: "power", machine: 0, offMs: 100 }],
      [1_500, { type: "outage", forMs: 20_000 }],
    ],
    tailMs: 20_000,
  }),
];

/** One unit's life on one machine, with the daemon killed around its k-th effect. */
export function killedAt(effect: number, moment: "before" | "after"): Scenario {
  const web = unit("slow");
  const commands = ["replace", "restart", "recreate", "load", "start", "destroy"] as const;
  return scenario(`the daemon is killed ${moment} effect ${effect} of a unit's life`, {
    units: [unit("logger")],
    machines: 3,
    steps: [
      [1_000, { type: "kill-at", machine: 1, effect, moment, downMs: 2_000 }],
      [0, { type: "command", command: "start", unit: web }],
      ...commands.map((command): readonly [number, Action] => [
        11_000,
        { type: "command", command, unit: web },
      ]),
    ],
    tailMs: 11_000,
  });
}
