import type { WatchLine } from "../api/protocol.ts";
import type { MachineView } from "../cluster/views.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { sleep } from "../runtime/clock.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { JournalQuery } from "../units/journal-query.ts";
import type { Context } from "./context.ts";
import type { JournalEntry } from "./journal-entry.ts";
import { field, realtimeUs } from "./journal-entry.ts";
import { LiveMerge } from "./journal-merge.ts";
import { readJournal } from "./journal-source.ts";
import { holdersOf, type UnitTarget } from "./journal-targets.ts";

/** What a request's head may name. */
export const UNITS_PER_REQUEST = 100;
const RECONNECT = { firstMs: 200, maxMs: 3_000 };

/** An entry and the machine it came from. */
export interface Line {
  readonly machineId: string;
  readonly entry: JournalEntry;
}

/** What was printed already of a unit on a machine: up to the entry of that cursor; undefined: it had none. */
export interface Seen {
  readonly cursor: string | undefined;
}

export function sourceKey(unit: string, machineId: string): string {
  return `${unit} ${machineId}`;
}

export interface FollowOptions {
  readonly targets: readonly UnitTarget[];
  /** Whether a unit that is not among them is meant too, now that it is there. */
  readonly later: ((name: string) => UnitTarget | undefined) | undefined;
  /** By sourceKey. */
  readonly seen: ReadonlyMap<string, Seen>;
  readonly query: Omit<JournalQuery, "units" | "follow" | "afterCursor">;
  readonly sshPort: number | undefined;
  readonly sudo: boolean;
  /** So many newest lines of a machine that could not be asked before. */
  readonly lines: number | "all";
  readonly print: (line: Line) => void;
  /** For standard error. */
  readonly say: (text: string) => void;
}

/**
 * Follows units wherever they go, until `signal` aborts: one stream per machine, resumed after the last entry when it is cut, and another one when a unit
 * comes to a machine. No stream is ended when its unit leaves: that is when its last words come.
 */
export class Follower {
  readonly #context: Context;
  readonly #options: FollowOptions;
  readonly #signal: AbortSignal;
  readonly #merge: LiveMerge<Line>;
  /** By name. */
  readonly #targets: Map<string, UnitTarget>;
  /** `unit machine` */
  readonly #followed = new Set<string>();
  readonly #running: Promise<void>[] = [];
  #streams = 0;
  #watchLost = false;

  constructor(context: Context, options: FollowOptions, signal: AbortSignal) {
    this.#context = context;
    this.#options = options;
    this.#signal = signal;
    this.#targets = new Map(options.targets.map((target) => [target.name, target]));
    this.#merge = new LiveMerge({
      clock: context.clock,
      order: ({ entry }) => realtimeUs(entry),
      give: options.print,
    });
  }

  async run(): Promise<void> {
    for (let failures = 0; !this.#signal.aborted; ) {
      try {
        for await (const line of this.#watch()) {
          failures = 0;
          if (this.#watchLost) this.#options.say("connected again");
          this.#watchLost = false;
          if (line.type === "unit" && this.#isMeant(line.unit.name)) {
            for (const id of holdersOf(line.unit)) this.#follow(id, [line.unit.name], "all");
          }
          if (line.type === "gone") this.#gone(line.name);
        }
      } catch (error) {
        if (this.#signal.aborted) break;
        if (!isFleetError(error)) throw error;
        if (!this.#watchLost) this.#options.say(`${error.message}; trying again`);
        this.#watchLost = true;
      }
      failures += 1;
      await this.#pause(failures);
    }
    await Promise.all(this.#running);
    this.#merge.flush();
  }

  #watch(): AsyncIterable<WatchLine> {
    const { client } = this.#context;
    return this.#options.later === undefined
      ? client.watch([...this.#targets.keys()], this.#signal)
      : client.watchAll(this.#signal);
  }

  #isMeant(name: string): boolean {
    const target = this.#targets.get(name) ?? this.#options.later?.(name);
    if (target !== undefined) this.#targets.set(name, target);
    return target !== undefined;
  }

  /** Begins with what is known already, so that nothing waits for the watch. */
  begin(machineId: string, units: readonly string[]): void {
    this.#follow(machineId, units, this.#options.lines);
  }

  #gone(name: string): void {
    const followed = [...this.#followed].some((key) => key.startsWith(`${name} `));
    if (followed) this.#options.say(`${name} was destroyed`);
  }

  /** Where nothing was found before, or where a unit comes for the first time, all there is is new. */
  #follow(machineId: string, units: readonly string[], unseen: number | "all"): void {
    const { seen } = this.#options;
    const fresh = units.filter((unit) => {
      const { bound = false, holders = [] } = this.#targets.get(unit) ?? {};
      const isHere = !bound || holders.includes(machineId);
      return isHere && !this.#followed.has(sourceKey(unit, machineId));
    });
    for (const unit of fresh) this.#followed.add(sourceKey(unit, machineId));
    const groups = Map.groupBy(fresh, (unit) => seen.get(sourceKey(unit, machineId)));
    for (const [before, group] of groups) {
      const tail = before === undefined ? unseen : "all";
      for (let from = 0; from < group.length; from += UNITS_PER_REQUEST) {
        const part = group.slice(from, from + UNITS_PER_REQUEST);
        this.#streams += 1;
        this.#running.push(this.#stream(machineId, { units: part, cursor: before?.cursor, tail }));
      }
    }
  }

  async #stream(
    machineId: string,
    from: {
      readonly units: readonly string[];
      readonly cursor: string | undefined;
      readonly tail: number | "all";
    },
  ): Promise<void> {
    const { query, say, sshPort, sudo } = this.#options;
    let { cursor, tail } = from;
    let told = false;
    for (let failures = 0; !this.#signal.aborted; ) {
      try {
        const machine = await this.#machine(machineId);
        const { units } = from;
        const asked = { ...query, units, follow: true, lines: tail, afterCursor: cursor };
        const journal = { machine, query: asked, sshPort, sudo };
        for await (const event of readJournal(this.#context, journal, this.#signal)) {
          failures = 0;
          if (told) say(`machine ${machineId} is there again`);
          told = false;
          if (event.type === "text") {
            say(event.text);
            continue;
          }
          const { entry } = event;
          cursor = field(entry, "__CURSOR") ?? cursor;
          tail = "all";
          this.#merge.push({ machineId, entry }, this.#streams === 1);
          await this.#context.drained();
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!isFleetError(error)) throw error;
        if (!told) say(`${error.message}; trying again`);
        told = true;
      }
      failures += 1;
      await this.#pause(failures);
    }
  }

  async #machine(id: string): Promise<Pick<MachineView, "id" | "address">> {
    const machines = await this.#context.client.machines();
    return machines.find((machine) => machine.id === id) ?? { id, address: "" };
  }

  async #pause(failures: number): Promise<void> {
    await sleep(this.#context.clock, backoffMs(failures, RECONNECT), this.#signal).catch(() => {});
  }
}
