import type { WatchLine } from "../../api/protocol.ts";
import type { UnitView } from "../../cluster/views.ts";
import { backoffMs } from "../../runtime/backoff.ts";
import { sleep } from "../../runtime/clock.ts";
import { isFleetError } from "../../runtime/errors.ts";
import { mangleUnitName } from "../../units/unit-name.ts";
import { machineIdText } from "../columns.ts";
import type { CommandRun, Context } from "../context.ts";
import { unitEvents } from "../event-text.ts";
import { EXIT_DONE } from "../exit-code.ts";
import { expandArguments, isPattern, matchesPattern } from "../unit-arguments.ts";

const RECONNECT = { firstMs: 200, maxMs: 3_000 };
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

interface Event {
  readonly event: string;
  readonly unit?: string;
  readonly machine?: string;
  readonly text: string;
  readonly isBad?: boolean;
}

/** What happens in the cluster, a line each, until it is ended. */
export const events: CommandRun = async (context, args) => {
  const words = await expandArguments(context, args);
  const isWanted = (name: string) =>
    words.length === 0 ||
    words.some((word) =>
      isPattern(word) ? matchesPattern(word, name) : mangleUnitName(word) === name,
    );
  const { signal } = context;
  const watcher = new Watcher(context, isWanted);
  for (let failures = 0; !signal.aborted; ) {
    try {
      for await (const line of context.client.watchAll(signal)) {
        failures = 0;
        watcher.take(line);
      }
    } catch (error) {
      if (signal.aborted) break;
      if (!isFleetError(error) || !watcher.hasBegun) throw error;
      watcher.lost(error.message);
    }
    failures += 1;
    await sleep(context.clock, backoffMs(failures, RECONNECT), signal).catch(() => {});
  }
  return EXIT_DONE;
};

class Watcher {
  readonly #context: Context;
  readonly #isWanted: (name: string) => boolean;
  /** As they were when last told of. */
  readonly #units = new Map<string, UnitView>();
  #machines: ReadonlySet<string> | undefined;
  /** Of what a new connection has told so far. */
  #fresh: Set<string> | undefined = new Set();
  #isLost = false;
  #begun = false;
  #notices: readonly string[] = [];

  constructor(context: Context, isWanted: (name: string) => boolean) {
    this.#context = context;
    this.#isWanted = isWanted;
  }

  get hasBegun(): boolean {
    return this.#begun;
  }

  take(line: WatchLine): void {
    switch (line.type) {
      case "unit":
        this.#fresh?.add(line.unit.name);
        this.#changed(line.unit.name, line.unit);
        break;
      case "gone":
        this.#changed(line.name, undefined);
        break;
      case "machines":
        this.#presence(line.present);
        break;
      case "synced":
        this.#synced();
        this.#noticed(line.notices.map(({ message }) => message));
        break;
      case "notices":
        this.#noticed(line.notices.map(({ message }) => message));
        break;
      case "alive":
        break;
    }
  }

  lost(why: string): void {
    if (!this.#isLost) this.#print({ event: "lost", text: `${why}; trying again`, isBad: true });
    this.#isLost = true;
    this.#fresh = new Set();
  }

  /** What went while there was no connection is told now. */
  #synced(): void {
    const fresh = this.#fresh ?? new Set();
    for (const name of this.#units.keys()) if (!fresh.has(name)) this.#changed(name, undefined);
    this.#fresh = undefined;
    this.#begun = true;
    if (this.#isLost) this.#print({ event: "connected", text: "connected again" });
    this.#isLost = false;
  }

  #changed(name: string, view: UnitView | undefined): void {
    const before = this.#units.get(name);
    if (view === undefined) this.#units.delete(name);
    else this.#units.set(name, view);
    if (!this.#begun || !this.#isWanted(name)) return;
    for (const event of unitEvents(before, view, legend)) this.#print(event);
  }

  #presence(present: readonly string[]): void {
    const before = this.#machines;
    this.#machines = new Set(present);
    if (before === undefined) return;
    for (const machine of present) {
      if (!before.has(machine)) this.#print({ event: "present", machine, text: "is there" });
    }
    for (const machine of before) {
      if (!this.#machines.has(machine)) {
        this.#print({ event: "away", machine, text: "is away", isBad: true });
      }
    }
  }

  #noticed(messages: readonly string[]): void {
    for (const text of messages) {
      if (!this.#notices.includes(text)) this.#print({ event: "notice", text, isBad: true });
    }
    this.#notices = messages;
  }

  #print({ isBad, text, ...event }: Event): void {
    const { clock, json, out, paint } = this.#context;
    const timeMs = clock.wallMs();
    if (json) {
      out(JSON.stringify({ timeMs, ...event, text }));
      return;
    }
    const who = event.unit ?? (event.machine && `machine ${legend(event.machine)}`) ?? "cluster";
    const what = isBad === true ? paint.bad(text) : text;
    out(`${paint.dim(TIME.format(timeMs))} ${paint.strong(who)} ${what}`);
  }
}

function legend(machineId: string): string {
  return machineIdText(machineId, false);
}
