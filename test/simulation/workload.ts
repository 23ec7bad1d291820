/** Machines are m0 ... m4 in plans; in the registry they have ids as machines do. */
export const MACHINES_MAX = 5;

export function machineId(index: number): string {
  return `${index + 1}`.repeat(32);
}

/** What each machine says of itself: the first two have an SSD. */
export function machineMetadata(index: number): Readonly<Record<string, string>> {
  return { disk: index < 2 ? "ssd" : "hdd" };
}

export interface WorkUnit {
  readonly name: string;
  readonly xFleet: readonly string[];
  readonly service: readonly string[];
  readonly sim: readonly string[];
  /** How its state can be told when all is well. `restless`: it never comes to rest. */
  readonly rests: "running" | "finished" | "failed" | "restless";
}

const SIMPLE = ["ExecStart=/bin/app"];
const ONESHOT = ["Type=oneshot", "ExecStart=/bin/job"];

function unit(name: string, options: Partial<Omit<WorkUnit, "name">> = {}): WorkUnit {
  return {
    name: `${name}.service`,
    xFleet: [],
    service: SIMPLE,
    sim: [],
    rests: "running",
    ...options,
  };
}

/** What runs in the simulated cluster: one of each kind of trouble. */
export const WORKLOAD: readonly WorkUnit[] = [
  unit("web1"),
  unit("web2"),
  unit("once", { service: ONESHOT, sim: ["StartMs=1500"], rests: "finished" }),
  unit("db"),
  unit("app", { xFleet: ["MachineOf=db.service"] }),
  unit("left", { xFleet: ["Conflicts=right.service"] }),
  unit("right"),
  unit("logger", { xFleet: ["Global=true"] }),
  unit("pinned", { xFleet: [`MachineID=${machineId(1)}`] }),
  unit("fast", { xFleet: ["MachineMetadata=disk=ssd"] }),
  unit("broken", {
    service: ["Type=notify", "ExecStart=/bin/broken"],
    sim: ["StartMs=500", "ExitAfterMs=200", "ExitCode=1"],
    rests: "failed",
  }),
  unit("roamer", {
    service: ["Type=notify", "ExecStart=/bin/roamer"],
    xFleet: ["OnFailure=move", "MoveLimit=2"],
    sim: ["StartMs=500", "ExitAfterMs=200", "ExitCode=1"],
    rests: "failed",
  }),
  unit("slow", {
    service: ["Type=notify", ...SIMPLE],
    sim: ["StartMs=5000", "StopMs=3000", "PostMs=1000"],
  }),
  unit("flaky", {
    service: [...SIMPLE, "Restart=on-failure", "RestartSec=3s"],
    sim: ["ExitAfterMs=9000", "ExitCode=1"],
    rests: "restless",
  }),
  unit("taken"),
  unit("vault", {
    service: [...SIMPLE, "TimeoutStopSec=2s"],
    xFleet: ["Fencing=strict"],
    sim: ["StopMs=1500"],
  }),
  unit("strictonce", {
    service: [...ONESHOT, "TimeoutStopSec=1s"],
    xFleet: ["Fencing=strict"],
    sim: ["StartMs=3000"],
    rests: "finished",
  }),
  unit("reloads", {
    service: [...SIMPLE, "ExecReload=/bin/true"],
    xFleet: ["OnUpdate=reload"],
  }),
  unit("restarts", { xFleet: ["OnUpdate=reload"] }),
  unit("keeps", { xFleet: ["OnUpdate=none"] }),
  unit("quick", { service: ONESHOT, rests: "finished" }),
  unit("apart@1", { xFleet: ["MaxPerMachine=1"] }),
  unit("apart@2", { xFleet: ["MaxPerMachine=1"] }),
  unit("spread@1", { xFleet: ["SpreadBy=disk"] }),
  unit("spread@2", { xFleet: ["SpreadBy=disk"] }),
];

/** Units that must not run twice at the same time, and how long the slowest takes to stop. */
export const STRICT_UNITS = WORKLOAD.filter(({ xFleet }) => xFleet.includes("Fencing=strict"));
export const STRICT_STOP_MS = 2_000;

/** Instances of the template that says MaxPerMachine=1. */
export function areApart(one: string, other: string): boolean {
  return one !== other && one.startsWith("apart@") && other.startsWith("apart@");
}

/** A unit of this name is the machine's own on m2, and runs there. */
export const HOST_UNIT = { name: "taken.service", machine: 2 } as const;

/** `version` matters to systemd, `note` is only for fleet-ts to see. */
export function unitContent(
  { xFleet, service, sim }: WorkUnit,
  { version, note }: { version: number; note: number },
): string {
  return [
    "[Unit]",
    `Description=version ${version}`,
    "[Service]",
    ...service,
    "[X-Sim]",
    ...sim,
    `Note=${note}`,
    ...(xFleet.length === 0 ? [] : ["[X-Fleet]", ...xFleet]),
    "",
  ].join("\n");
}
