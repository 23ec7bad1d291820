import type { MachineView, UnitView } from "../cluster/views.ts";
import type { ServiceWatch } from "../registry/service-watch.ts";
import type { ViewReader } from "../registry/view-reader.ts";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Endpoint } from "../services/endpoint.ts";
import type { NameFacts } from "./answer.ts";
import type { AskedName } from "./names.ts";

export interface NameDirectoryOptions {
  readonly services: Pick<ServiceWatch, "open">;
  readonly read: Pick<ViewReader, "units" | "machines">;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Followed {
  endpoints: readonly Endpoint[] | undefined;
  readonly waiting: Set<() => void>;
  close: () => void;
  askedMs: number;
}

interface Remembered {
  readonly atMs: number;
  readonly value: unknown;
}

/** A service is followed for so long after the last question about it. */
const FOLLOW_MS = 60_000;
const SERVICES_MAX = 256;
/** What was read answers for so long; with the registry away for as long as that lasts. */
const FRESH_MS = 1_000;
const REMEMBERED_MAX = 256;
/** Resolvers wait some seconds for an answer, and are better told that there is none. */
const WAIT_MS = 1_500;
const MACHINE_PREFIX_MIN = 8;

/**
 * What the registry says of names. Nobody asks: no watch, no read, no timer. Services that are asked for are followed, by the watch that the machine's
 * ambassadors share; units and machines are read. While the registry is away, or is not the machine's own, what was last known holds (I4, I5).
 */
export class NameDirectory {
  readonly #options: NameDirectoryOptions;
  /** Both in order of use, the oldest first. */
  readonly #followed = new Map<string, Followed>();
  readonly #remembered = new Map<string, Remembered>();
  readonly #reading = new Map<string, Promise<unknown>>();
  #cancelSweep: CancelTimer | undefined;
  #answers = false;
  #toldAway = false;

  constructor(options: NameDirectoryOptions) {
    this.#options = options;
  }

  /** Whether the registry is there, and the machine's own. */
  setRegistry(answers: boolean): void {
    if (answers && this.#toldAway) this.#options.logger.info("dns-answers-from-registry");
    if (answers) this.#toldAway = false;
    this.#answers = answers;
  }

  close(): void {
    this.#cancelSweep?.();
    for (const followed of this.#followed.values()) followed.close();
    this.#followed.clear();
  }

  async facts(asked: AskedName): Promise<NameFacts> {
    if (!this.#answers && !this.#toldAway) {
      this.#toldAway = true;
      this.#options.logger.warn("dns-answers-from-last-state", { why: "the registry is away" });
    }
    switch (asked.type) {
      case "service": {
        const endpoints = await this.#endpoints(asked.service);
        return endpoints === undefined ? { type: "unknown" } : { type: "endpoints", endpoints };
      }
      case "machine": {
        const machines = await this.#machines();
        return machines === undefined
          ? { type: "unknown" }
          : toFacts(machinesNamed(machines, asked.machine));
      }
      case "unit":
        return await this.#unit(asked.units);
      default:
        return { type: "none" };
    }
  }

  async #unit(names: readonly string[]): Promise<NameFacts> {
    const [units, machines] = await Promise.all([
      this.#remember(`units ${names.join(" ")}`, async () => {
        const { units: found } = await this.#options.read.units(names, { deadlineMs: WAIT_MS });
        return found;
      }),
      this.#machines(),
    ]);
    if (units === undefined || machines === undefined) return { type: "unknown" };
    const unit = names.flatMap((name) => units.filter((one) => one.name === name)).at(0);
    if (unit === undefined) return { type: "none" };
    const holders = holdersOf(unit);
    return addressesOf(machines.filter(({ id }) => holders.includes(id)));
  }

  async #machines(): Promise<readonly MachineView[] | undefined> {
    return await this.#remember("machines", async () => {
      return (await this.#options.read.machines({ deadlineMs: WAIT_MS })).machines;
    });
  }

  /** Undefined: it could not be read, and never was. Questions at the same time share one read. */
  async #remember<T>(key: string, read: () => Promise<T>): Promise<T | undefined> {
    const { clock } = this.#options;
    const known = this.#remembered.get(key);
    // Keys tell what kind of value stands behind them.
    const value = known?.value as T | undefined;
    const isFresh = known !== undefined && clock.monotonicMs() - known.atMs < FRESH_MS;
    if (isFresh || !this.#answers) return value;
    let reading = this.#reading.get(key) as Promise<T | undefined> | undefined;
    if (reading === undefined) {
      reading = this.#read(key, read).finally(() => this.#reading.delete(key));
      this.#reading.set(key, reading);
    }
    return (await reading) ?? value;
  }

  async #read<T>(key: string, read: () => Promise<T>): Promise<T | undefined> {
    const { clock, logger } = this.#options;
    try {
      const value = await read();
      this.#remembered.delete(key);
      this.#remembered.set(key, { atMs: clock.monotonicMs(), value });
      dropOldest(this.#remembered, REMEMBERED_MAX);
      return value;
    } catch (error) {
      if (!isFleetError(error)) throw error;
      logger.debug("dns-read-failed", { error: errorMessage(error) });
      return undefined;
    }
  }

  async #endpoints(service: string): Promise<readonly Endpoint[] | undefined> {
    const { clock } = this.#options;
    const followed = this.#followed.get(service) ?? this.#follow(service);
    if (followed === undefined) return undefined;
    followed.askedMs = clock.monotonicMs();
    this.#followed.delete(service);
    this.#followed.set(service, followed);
    for (const gone of dropOldest(this.#followed, SERVICES_MAX)) gone.close();
    this.#cancelSweep ??= clock.setTimer(FOLLOW_MS, () => this.#sweep());
    if (followed.endpoints === undefined && this.#answers) await this.#untilKnown(followed);
    return followed.endpoints;
  }

  /** Undefined: there is nobody to ask. */
  #follow(service: string): Followed | undefined {
    if (!this.#answers) return undefined;
    const followed: Followed = {
      endpoints: undefined,
      waiting: new Set(),
      close: () => undefined,
      askedMs: 0,
    };
    followed.close = this.#options.services.open(service, (endpoints) => {
      followed.endpoints = endpoints;
      for (const resolve of [...followed.waiting]) resolve();
    });
    return followed;
  }

  async #untilKnown({ waiting }: Followed): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = () => {
        cancel();
        waiting.delete(end);
        resolve();
      };
      const cancel = this.#options.clock.setTimer(WAIT_MS, end);
      waiting.add(end);
    });
  }

  /** Not while the registry is away: what is forgotten then cannot be asked for again. */
  #sweep(): void {
    const { clock } = this.#options;
    const now = clock.monotonicMs();
    for (const [service, followed] of this.#followed) {
      if (!this.#answers || now - followed.askedMs < FOLLOW_MS) continue;
      followed.close();
      this.#followed.delete(service);
    }
    const again = this.#followed.size > 0;
    this.#cancelSweep = again ? clock.setTimer(FOLLOW_MS, () => this.#sweep()) : undefined;
  }
}

/** Machines where it runs; where it runs nowhere, those that are to hold it. */
function holdersOf({ states, assigned }: UnitView): readonly string[] {
  const active = states.filter((state) => state.active === "active");
  return (active.length > 0 ? active : assigned).map(({ machineId }) => machineId);
}

/** By id, by host name, or by what is printed of an id: its beginning, if that is only one machine's. */
function machinesNamed(machines: readonly MachineView[], word: string): readonly MachineView[] {
  const byId = machines.filter(({ id }) => id === word);
  if (byId.length > 0) return byId;
  const byHost = machines.filter(({ metadata }) => {
    const host = metadata["hostname"]?.toLowerCase();
    return host === word || host?.split(".")[0] === word;
  });
  if (byHost.length > 0) return byHost;
  const begun = machines.filter(({ id }) => id.startsWith(word));
  return word.length >= MACHINE_PREFIX_MIN && begun.length === 1 ? begun : [];
}

function toFacts(machines: readonly MachineView[]): NameFacts {
  return machines.length === 0 ? { type: "none" } : addressesOf(machines);
}

function addressesOf(machines: readonly MachineView[]): NameFacts {
  return { type: "addresses", addresses: machines.map(({ address }) => address) };
}

function dropOldest<T>(map: Map<string, T>, max: number): readonly T[] {
  const dropped: T[] = [];
  for (const [key, value] of map) {
    if (map.size <= max) break;
    map.delete(key);
    dropped.push(value);
  }
  return dropped;
}
