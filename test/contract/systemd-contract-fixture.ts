import assert from "node:assert/strict";
import type { HeldUnit, Systemd, SystemdEvent, UnitStatus } from "../../src/agent/systemd.ts";

/** What an adapter's test provides, and what the suite's parts share. Each test has a machine without held units. */
export interface SystemdFixture {
  readonly systemd: Systemd;
  /** The daemon is killed and begins anew on the same machine. */
  restartDaemon(): Promise<Systemd>;
  /** Time passes: a virtual clock moves, or the call waits. */
  elapse(durationMs: number): Promise<void>;
  wallMs(): number;
  /** By the clock that the adapter has. */
  monotonicMs(): number;
  /** Marker (unitText) of the unit's newest run; undefined before the first. */
  lastMarker(unit: string): Promise<string | undefined>;
  isEnabled(unit: string): Promise<boolean>;
  readonly host: {
    /** A unit that the machine has from elsewhere, running where its kind can; gives the path of its file. */
    add(kind: HostUnitKind, unit: string): Promise<string>;
    isActive(unit: string): Promise<boolean>;
    /** What the administrator does, without waiting for it to end. */
    systemctl(verb: "start" | "stop", unit: string): Promise<void>;
    /** Kills the main process. */
    crash(unit: string): Promise<void>;
  };
  breakBus(): Promise<void>;
  restoreBus(): Promise<void>;
  /** The disk takes no more; the returned function frees it. */
  fillDisk(): Promise<() => Promise<void>>;
  /** Stops and removes everything, and closes. */
  close(): Promise<void>;
}

export type HostUnitKind = "file" | "template" | "masked" | "transient" | "alias";

export const HOST_UNIT_KINDS: readonly HostUnitKind[] = [
  "file",
  "template",
  "masked",
  "transient",
  "alias",
];

/** Declares one test of the suite: a fresh fixture, closed whatever happens. */
export type Check = (name: string, body: (fixture: SystemdFixture) => Promise<void>) => void;

export interface UnitTextOptions {
  /** What lastMarker() gives of a run of this text. */
  readonly marker?: string;
  readonly type?: "simple" | "oneshot";
  /** Of a oneshot: how long it runs, Infinity for ever. */
  readonly startMs?: number;
  /** Of a simple service: after what time it ends by itself. */
  readonly exitAfterMs?: number;
  readonly exitCode?: number;
  readonly stopMs?: number;
  readonly postMs?: number;
  /** Lines for these sections. */
  readonly unit?: readonly string[];
  readonly service?: readonly string[];
  readonly install?: readonly string[];
  readonly sim?: readonly string[];
}

/** Where runs on a real machine leave their markers. */
export const MARKERS = "/run/fleet-contract";

/** One text that a real systemd and the simulated one understand alike. */
export function unitText(options: UnitTextOptions = {}): string {
  const {
    marker = "any",
    type = "simple",
    exitCode = 0,
    exitAfterMs,
    startMs,
    stopMs,
    postMs,
  } = options;
  const runMs = type === "oneshot" ? (startMs ?? 0) : (exitAfterMs ?? Number.POSITIVE_INFINITY);
  const script = `echo marker-${marker} > ${MARKERS}/%n; sleep ${seconds(runMs)}; exit ${exitCode}`;
  const lines = [
    "[Unit]",
    ...(options.unit ?? []),
    "[Service]",
    `Type=${type}`,
    `ExecStart=/bin/sh -c '${script}'`,
    ...(stopMs === undefined ? [] : [`ExecStop=/bin/sleep ${seconds(stopMs)}`]),
    ...(postMs === undefined ? [] : [`ExecStopPost=/bin/sleep ${seconds(postMs)}`]),
    ...(options.service ?? []),
    "[X-Sim]",
    `ExitCode=${exitCode}`,
    ...(startMs === undefined ? [] : [`StartMs=${startMs}`]),
    ...(exitAfterMs === undefined ? [] : [`ExitAfterMs=${exitAfterMs}`]),
    ...(stopMs === undefined ? [] : [`StopMs=${stopMs}`]),
    ...(postMs === undefined ? [] : [`PostMs=${postMs}`]),
    ...(options.sim ?? []),
    ...(options.install === undefined ? [] : ["[Install]", ...options.install]),
  ];
  return `${lines.join("\n")}\n`;
}

function seconds(durationMs: number): string {
  return Number.isFinite(durationMs) ? String(durationMs / 1_000) : "infinity";
}

export function heldUnit(unit: string, content = unitText()): HeldUnit {
  return { unit, manifest: { content, dropIns: [] } };
}

/** Writes units that have to go through, and reloads if a result asks for it; whether one did. */
export async function install(systemd: Systemd, ...units: readonly HeldUnit[]): Promise<boolean> {
  const results = await systemd.write(units);
  const reloads = results.map((result) => {
    assert.equal(result.type, "written", JSON.stringify(result));
    return result.type === "written" && result.reloadNeeded;
  });
  const needed = reloads.includes(true);
  if (needed) await systemd.reload();
  return needed;
}

export async function statusOf(systemd: Systemd, unit: string): Promise<UnitStatus> {
  const [status] = await systemd.status([unit]);
  assert.ok(status !== undefined);
  return status;
}

/** What is generous on a slow machine costs nothing on a virtual clock. */
const PATIENCE_MS = 60_000;
const STEP_MS = 20;

/** Lets time pass until the promise settles. */
export async function settled<T>(fixture: SystemdFixture, promise: Promise<T>): Promise<T> {
  let over = false;
  const done = promise.finally(() => {
    over = true;
  });
  done.catch(() => {});
  for (let waitedMs = 0; !over && waitedMs < PATIENCE_MS; waitedMs += STEP_MS) {
    await fixture.elapse(STEP_MS);
  }
  assert.ok(over, "the call has not ended");
  return await done;
}

/** Lets time pass until `look` gives something that holds. */
export async function until<T>(
  fixture: SystemdFixture,
  what: string,
  look: () => Promise<T> | T,
  holds: (seen: T) => boolean,
): Promise<T> {
  let seen = await look();
  for (let waitedMs = 0; !holds(seen); waitedMs += STEP_MS) {
    assert.ok(waitedMs < PATIENCE_MS, `waited in vain until ${what}: ${JSON.stringify(seen)}`);
    await fixture.elapse(STEP_MS);
    seen = await look();
  }
  return seen;
}

/** Collects events until `stop` is called. */
export function follow(systemd: Systemd): {
  readonly events: SystemdEvent[];
  /** The newest status told of a unit. */
  newest(unit: string): UnitStatus | undefined;
  stop(): Promise<void>;
} {
  const events: SystemdEvent[] = [];
  const ending = new AbortController();
  const stream = systemd.events(ending.signal);
  const reading = (async () => {
    for await (const event of stream) events.push(event);
  })();
  return {
    events,
    newest: (unit) =>
      events
        .flatMap((event) =>
          event.type === "status" && event.status.unit === unit ? [event.status] : [],
        )
        .at(-1),
    stop: async () => {
      ending.abort();
      await reading;
    },
  };
}
