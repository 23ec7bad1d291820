import { type Clock, sleep } from "../runtime/clock.ts";
import { parseUnitName, validateUnitName } from "../units/unit-name.ts";
import { type ListedUnit, type Manager, UNIT_INTERFACE } from "./dbus-manager.ts";
import { type UnitStatus, unknownStatus } from "./systemd.ts";

/** A list of names is one message and one turn of systemd's loop: not all units of a large machine at once. */
const NAMES_PER_CALL = 500;

/** Interfaces with a property Result. */
const RESULT_INTERFACES: Readonly<Record<string, string>> = {
  service: "Service",
  socket: "Socket",
  timer: "Timer",
  path: "Path",
  mount: "Mount",
  automount: "Automount",
  swap: "Swap",
};

/** A job's end is told before the unit's last change is: a read right away would be followed by another. */
const GATHER_MS = 5;

export interface StatusReaderOptions {
  readonly manager: Manager;
  readonly clock: Clock;
  readonly isHeld: (unit: string) => boolean;
}

interface Asked {
  readonly units: readonly string[];
  readonly onAsk: (() => void) | undefined;
  readonly answer: (statuses: readonly UnitStatus[]) => void;
  readonly fail: (error: unknown) => void;
}

/** Reads what systemd says of units, one list after the other: what is asked for meanwhile shares the next. */
export class StatusReader {
  readonly #options: StatusReaderOptions;
  #next: Asked[] = [];
  #isReading = false;

  constructor(options: StatusReaderOptions) {
    this.#options = options;
  }

  /** In the order asked. `onAsk` is called before systemd is asked: each unit's state is from then or later. */
  async read(
    units: readonly string[],
    options: { readonly signal?: AbortSignal | undefined; readonly onAsk?: () => void } = {},
  ): Promise<readonly UnitStatus[]> {
    const { signal, onAsk } = options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<readonly UnitStatus[]>();
    this.#next.push({ units, onAsk, answer: resolve, fail: reject });
    if (!this.#isReading) void this.#run();
    const statuses = await promise;
    signal?.throwIfAborted();
    return statuses;
  }

  async #run(): Promise<void> {
    this.#isReading = true;
    while (this.#next.length > 0) {
      await sleep(this.#options.clock, GATHER_MS);
      const together = this.#next;
      this.#next = [];
      try {
        const units = new Set(together.flatMap(({ units }) => units));
        const onAsk = () => {
          for (const asked of together) asked.onAsk?.();
        };
        const statuses = await readStatuses([...units], { ...this.#options, onAsk });
        const byName = new Map(statuses.map((status) => [status.unit, status]));
        for (const { units, answer } of together)
          answer(units.map((unit) => byName.get(unit) ?? unknownStatus(unit)));
      } catch (error) {
        for (const { fail } of together) fail(error);
      }
    }
    this.#isReading = false;
  }
}

/** Of a held unit that systemd has not in memory. */
export function forgottenStatus(unit: string): UnitStatus {
  return { ...unknownStatus(unit, ""), result: resultOwner(unit) === undefined ? "" : "success" };
}

/**
 * A list for all units and one to three properties each, which is a quarter of what reading all properties of a unit takes. Units that are not
 * ours are looked up first: asking for a name loads it, and systemd is not to load what nobody put there. Of an inactive unit nothing is read
 * that systemd has forgotten again: each property would load it anew.
 */
async function readStatuses(
  units: readonly string[],
  { manager, isHeld, onAsk }: StatusReaderOptions & { readonly onAsk: () => void },
): Promise<readonly UnitStatus[]> {
  const known = await Promise.all(
    units.map(async (unit) => {
      if (validateUnitName(unit) !== undefined) return false;
      return isHeld(unit) || (await manager.loadedPath(unit)) !== undefined;
    }),
  );
  const asked = units.filter((_, index) => known[index]);
  const listed = new Map<string, ListedUnit>();
  for (let at = 0; at < asked.length; at += NAMES_PER_CALL) {
    const names = asked.slice(at, at + NAMES_PER_CALL);
    if (at === 0) onAsk();
    // By place: an alias is listed under the unit's first name.
    const rows = await manager.listByNames(names);
    for (const [index, row] of rows.entries()) listed.set(names[index] ?? row.name, row);
  }
  return await Promise.all(
    units.map(async (unit) => {
      const row = listed.get(unit);
      if (row === undefined) return unknownStatus(unit);
      const { load, active, sub, hasJob } = row;
      if (load === "not-found") return { ...unknownStatus(unit), active, sub, hasJob };
      if (active === "inactive" && !hasJob) {
        const isForgotten = (await manager.loadedPath(unit)) === undefined;
        if (isForgotten) return { ...forgottenStatus(row.name), unit, load, active, sub };
      }
      return await readDetails(manager, unit, row);
    }),
  );
}

async function readDetails(manager: Manager, unit: string, row: ListedUnit): Promise<UnitStatus> {
  const owner = resultOwner(row.name);
  const options = { about: unit };
  const hasPid = owner === SERVICE && row.active !== "inactive" && row.active !== "failed";
  // A start sets a service's result to success, and anything else makes it leave the active state.
  const hasSucceeded = owner === SERVICE && row.active === "active";
  const readResult = async () => {
    if (owner === undefined) return "";
    return hasSucceeded ? "success" : await manager.text(row.path, owner, "Result", options);
  };
  const [since, result, mainPid] = await Promise.all([
    manager.property(row.path, UNIT_INTERFACE, sinceProperty(row.active), options),
    readResult(),
    hasPid ? manager.property(row.path, owner, "MainPID", options) : 0,
  ]);
  return {
    unit,
    load: row.load,
    active: row.active,
    sub: row.sub,
    result,
    mainPid: Number(mainPid),
    sinceMs: Math.floor(Number(since) / 1000),
    hasJob: row.hasJob,
  };
}

const SERVICE = "org.freedesktop.systemd1.Service";

/** The interface with the property Result, of a unit of a type that has one. */
function resultOwner(unit: string): string | undefined {
  const name = RESULT_INTERFACES[parseUnitName(unit)?.type ?? ""];
  return name === undefined ? undefined : `org.freedesktop.systemd1.${name}`;
}

function sinceProperty(active: string): string {
  switch (active) {
    case "active":
    case "reloading":
      return "ActiveEnterTimestamp";
    case "activating":
      return "InactiveExitTimestamp";
    case "inactive":
    case "failed":
      return "InactiveEnterTimestamp";
    default:
      // ActiveExitTimestamp is an old one where a start is given up, for such a unit was never active.
      return "StateChangeTimestamp";
  }
}
