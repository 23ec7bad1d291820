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

/** The keep-alive that comes back first is just too late. */
const FENCE_FALLS_WHILE_RENEWED: readonly (readonly [number, Action])[] = [
  [5_000, { type: "slow-bus", machine: 0, delayMs: 300, forMs: 40_000 }],
  [0, { type: "cut", machine: 0, forMs: 4_800 }],
];

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
  scenario("the registry is wiped while a machine waits to hand back", {
    units: [unit("slow")],
    steps: [
      [10_000, { type: "kill", machine: 0, downMs: 12_000 }],
      [13_000, { type: "wipe" }],
    ],
    tailMs: 30_000,
  }),
  scenario("the registry is wiped and a machine's watches hang while it hands back", {
    units: [unit("slow")],
    steps: [
      [10_000, { type: "kill", machine: 0, downMs: 12_000 }],
      [12_500, { type: "deaf", machine: 0, forMs: 60_000 }],
      [24_000, { type: "wipe" }],
    ],
    tailMs: 30_000,
  }),
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
  scenario("the registry is slow for all, and slower than a lease lasts for one", {
    steps: [
      [5_000, { type: "slow", machine: 0, delayMs: 400, forMs: 40_000 }],
      [0, { type: "slow", machine: 1, delayMs: 400, forMs: 40_000 }],
      [0, { type: "slow", machine: 2, delayMs: 10_000, forMs: 40_000 }],
      [5_000, { type: "command", command: "restart", unit: unit("web1") }],
    ],
    tailMs: 60_000,
  }),
  scenario("a daemon is dead beyond its lease, then back", {
    steps: [[5_000, { type: "kill", machine: 0, downMs: 30_000 }]],
    tailMs: 40_000,
  }),
  scenario("a machine leaves and hands over", {
    steps: [[5_000, { type: "stop", machine: 0, downMs: 60_000 }]],
    tailMs: 60_000,
  }),
  ...[1, 3, 5, 7].flatMap((effect) =>
    (["before", "after"] as const).map((moment) =>
      scenario(`the leader dies ${moment} effect ${effect} of a drain`, {
        steps: [
          [10_000, { type: "kill-leader-at", effect, moment, downMs: 20_000 }],
          [0, { type: "drain", machine: 1 }],
        ],
        tailMs: 60_000,
      }),
    ),
  ),
  scenario("two machines are drained, one of them dies, one is taken back", {
    machines: 5,
    steps: [
      [10_000, { type: "drain", machine: 1 }],
      [0, { type: "drain", machine: 2 }],
      [3_000, { type: "power", machine: 1, offMs: 20_000 }],
      [1_000, { type: "uncordon", machine: 2 }],
    ],
    tailMs: 60_000,
  }),
  scenario("a drained machine's daemon is killed while a unit stops there", {
    units: ["slow", "web1", "web2"].map(unit),
    steps: [
      [10_000, { type: "drain", machine: 0 }],
      [1_000, { type: "kill", machine: 0, downMs: 4_000 }],
    ],
    tailMs: 30_000,
  }),
  scenario("every machine is drained", {
    steps: [0, 1, 2].map((machine) => [8_000, { type: "drain", machine }]),
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
  scenario("a link is mended just before the lease ends", {
    units: [unit("web2"), unit("web1"), unit("once"), unit("db")],
    steps: [
      [7_198, { type: "cut", machine: 1, forMs: 8_802 }],
      [5_731, { type: "command", command: "start", unit: unit("left") }],
    ],
    tailMs: 5_000,
  }),
  scenario("a unit is no longer to run while its start waits for its turn", {
    machines: 1,
    units: ["once", "slow", "web2"].map(unit),
    steps: [[500, { type: "command", command: "load", unit: unit("web2") }]],
  }),
  scenario("a machine freezes while starts wait for their turn", {
    steps: [[0, { type: "freeze", machine: 2, forMs: 12_000 }]],
    tailMs: 20_000,
  }),
  scenario("units are destroyed while their starts wait for their turn", {
    steps: ["web1", "web2", "fast", "right", "app"].map((name) => [
      0,
      { type: "command", command: "destroy", unit: unit(name) },
    ]),
    tailMs: 5_000,
  }),
  scenario("a machine comes back in the instant in which its unit is placed elsewhere", {
    units: ["left", "web2", "once", "web1", "app", "db"].map(unit),
    steps: [
      [1_500, { type: "kill-at", machine: 0, effect: 31, moment: "after", downMs: 100 }],
      [0, { type: "kill-at", machine: 4, effect: 1, moment: "before", downMs: 4_000 }],
      [1_500, { type: "command", command: "restart", unit: unit("db") }],
      [1_500, { type: "command", command: "load", unit: unit("right") }],
      [1_500, { type: "command", command: "start", unit: unit("taken") }],
      [12_224, { type: "command", command: "start", unit: unit("web1") }],
    ],
    tailMs: 19_986,
  }),
  scenario("the bus is away while a unit ends that is to be started again", {
    units: ["once", "db", "slow", "app", "web1", "left"].map(unit),
    steps: [
      [2_512, { type: "command", command: "restart", unit: unit("slow") }],
      [2_488, { type: "bus", machine: 1, forMs: 5_001 }],
    ],
    tailMs: 8_000,
  }),
  scenario("a fenced unit has moved since the state that the registry is restored from", {
    units: ["once", "db", "web1", "app", "vault", "left"].map(unit),
    steps: [
      [4_000, { type: "stop", machine: 1, downMs: 4_000 }],
      [1_500, { type: "restore", ageMs: 0 }],
      [0, { type: "kill", machine: 0, downMs: 100 }],
    ],
  }),
  scenario("the fence falls while it is renewed", {
    units: [unit("vault")],
    steps: FENCE_FALLS_WHILE_RENEWED,
    tailMs: 30_000,
  }),
  scenario("the fence falls while it is renewed, and its unit becomes another and is destroyed", {
    units: [unit("vault")],
    steps: [
      ...FENCE_FALLS_WHILE_RENEWED,
      [5_400, { type: "command", command: "recreate", unit: unit("vault") }],
      [5_000, { type: "restart", machine: 0 }],
      [5_000, { type: "command", command: "destroy", unit: unit("vault") }],
    ],
    tailMs: 30_000,
  }),
];

/** Where the daemon is killed: that of the leader, which holds the unit too, or one that is only an agent. */
export const LIVES = ["leader", "agent"] as const;
export type Life = (typeof LIVES)[number];
const VICTIMS = { leader: { machine: 0, unit: "slow" }, agent: { machine: 1, unit: "pinned" } };

/** One unit's life on one machine. Without a kill point nobody is killed. */
export function lifeOf(
  life: Life,
  point?: { readonly effect: number; readonly moment: "before" | "after" },
): Scenario {
  const { machine, unit: name } = VICTIMS[life];
  const commands = ["start", "replace", "restart", "recreate", "load", "start", "destroy"] as const;
  const kill: readonly (readonly [number, Action])[] =
    point === undefined ? [] : [[0, { type: "kill-at", machine, ...point, downMs: 2_000 }]];
  const where = point === undefined ? "" : `, daemon killed ${point.moment} effect ${point.effect}`;
  return scenario(`life of a unit (${life}${where})`, {
    units: [unit("logger")],
    steps: [
      ...kill,
      ...commands.map((command): readonly [number, Action] => [
        command === "start" ? 1_000 : 10_000,
        { type: "command", command, unit: unit(name) },
      ]),
    ],
    tailMs: 10_000,
  });
}

export const LIFE_EFFECTS_MAX = 200;

/** All that have a name. */
export function allScenarios(): readonly Scenario[] {
  const found = [...SCENARIOS];
  for (const life of LIVES) {
    found.push(lifeOf(life));
    for (let effect = 1; effect <= LIFE_EFFECTS_MAX; effect += 1) {
      found.push(lifeOf(life, { effect, moment: "before" }));
      found.push(lifeOf(life, { effect, moment: "after" }));
    }
  }
  return found;
}
