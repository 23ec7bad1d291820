import type { Keys } from "../registry/keys.ts";
import {
  blockedRecord,
  decodeRecord,
  placementRecord,
  stateRecord,
  unitRecord,
} from "../registry/records.ts";
import type { Store } from "../registry/store.ts";
import type { Clock } from "../runtime/clock.ts";

export interface HandbackOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly machineId: string;
  /** After this long a withdrawn unit is stopped even if nobody reports it active elsewhere. */
  readonly handbackMs: number;
  /** Something that a waiting unit's fate hangs on has changed. */
  readonly onChange: (unit: string) => void;
}

/** A unit that is held here and not assigned. */
export interface WithdrawnUnit {
  readonly unit: string;
  /** Of what was started, if known. */
  readonly identity: number | undefined;
  /** The assignment was there and has been taken away; otherwise the engine may just not have got to it. */
  readonly seenAssigned: boolean;
}

interface Waiting {
  readonly sinceMs: number;
  readonly watches: AbortController;
  keys: string;
}

/**
 * When a unit that is no longer assigned here may be stopped. A machine that was given up as lost and returns keeps its copy running
 * until the new holder reports the unit active, so that the service is never down twice.
 */
export class Handback {
  readonly #options: HandbackOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** Units that may be taken off the machine, until they are gone or assigned again. */
  readonly #released = new Set<string>();

  constructor(options: HandbackOptions) {
    this.#options = options;
  }

  /** In how many milliseconds the first waiting unit's time is over. */
  nextMs(): number | undefined {
    const { clock, handbackMs } = this.#options;
    let next: number | undefined;
    for (const { sinceMs } of this.#waiting.values()) {
      const leftMs = sinceMs + handbackMs - clock.monotonicMs();
      next = Math.min(next ?? leftMs, leftMs);
    }
    return next === undefined ? undefined : Math.max(0, next);
  }

  waitingUnits(): readonly string[] {
    return [...this.#waiting.keys()];
  }

  /** The unit is assigned again, or gone. */
  settle(unit: string): void {
    this.#stopWaiting(unit);
    this.#released.delete(unit);
  }

  settleAll(): void {
    for (const unit of [...this.#waiting.keys()]) this.#stopWaiting(unit);
    this.#released.clear();
  }

  async mayStop(withdrawn: WithdrawnUnit, signal: AbortSignal): Promise<boolean> {
    const { unit } = withdrawn;
    const { clock, handbackMs } = this.#options;
    const waiting = this.#waiting.get(unit);
    const isOver = waiting !== undefined && clock.monotonicMs() >= waiting.sinceMs + handbackMs;
    if (isOver || this.#released.has(unit)) return this.#release(unit);
    const verdict = await this.#judge(withdrawn, signal);
    if (verdict.type === "stop") return this.#release(unit);
    this.#wait(unit, verdict.watch, verdict.revision);
    return false;
  }

  /** What follows the stop, the removal of its files, is not to wait again. */
  #release(unit: string): true {
    this.#stopWaiting(unit);
    this.#released.add(unit);
    return true;
  }

  #stopWaiting(unit: string): void {
    this.#waiting.get(unit)?.watches.abort();
    this.#waiting.delete(unit);
  }

  async #judge(
    { unit, identity, seenAssigned }: WithdrawnUnit,
    signal: AbortSignal,
  ): Promise<{ type: "stop" } | { type: "wait"; watch: readonly string[]; revision: number }> {
    const { store, keys, machineId } = this.#options;
    const unitKey = keys.unit(unit);
    const placementKey = keys.placement(unit);
    const blockedKey = keys.blocked(unit);
    const read = { keys: [unitKey, placementKey, blockedKey] };
    const { header, items } = await store.readKeys(read, { signal });
    const found = (key: string) => items.find((item) => item.key === key);

    const wanted = found(unitKey);
    if (wanted === undefined) return { type: "stop" };
    const record = decodeRecord(unitRecord, wanted.key, wanted.value);
    if (record.desired === "inactive") return { type: "stop" };
    if (record.global)
      return seenAssigned
        ? { type: "stop" }
        : { type: "wait", watch: [unitKey], revision: header.revision };
    if (identity !== undefined && wanted.createRevision !== identity) return { type: "stop" };

    const placed = found(placementKey);
    const placement = placed && decodeRecord(placementRecord, placed.key, placed.value);
    const holder = placement?.machine;
    // A planned move: the other machine waits for this one.
    if (placement?.moving?.from === machineId) return { type: "stop" };
    if (holder === undefined && seenAssigned) return { type: "stop" };
    if (holder === undefined) {
      // Not placed: either the engine asked this machine to make way and waits for it, or it has yet to see that the unit is here.
      const blocked = found(blockedKey);
      const reasons = blocked
        ? decodeRecord(blockedRecord, blocked.key, blocked.value).reasons
        : [];
      const asked = reasons.some(
        ({ reason }) => reason.type === "stopping" && reason.machineId === machineId,
      );
      if (asked) return { type: "stop" };
      return {
        type: "wait",
        watch: [unitKey, placementKey, blockedKey],
        revision: header.revision,
      };
    }
    const stateKey = keys.state(holder, unit);
    if (holder !== machineId) {
      const { revision } = header;
      const [item] = (await store.readKeys({ keys: [stateKey], revision }, { signal })).items;
      const state = item && decodeRecord(stateRecord, item.key, item.value);
      const serves =
        state !== undefined && (state.active === "active" || state.start?.outcome === "done");
      if (serves && state.identity === wanted.createRevision) return { type: "stop" };
      // It is only wanted loaded: there is no service to keep up.
      if (record.desired === "loaded" && state !== undefined) return { type: "stop" };
    }
    return { type: "wait", watch: [unitKey, placementKey, stateKey], revision: header.revision };
  }

  #wait(unit: string, keys: readonly string[], revision: number): void {
    const { store, clock, onChange } = this.#options;
    const before = this.#waiting.get(unit);
    const names = keys.join("\n");
    if (before?.keys === names) return;
    before?.watches.abort();
    const watches = new AbortController();
    this.#waiting.set(unit, {
      sinceMs: before?.sinceMs ?? clock.monotonicMs(),
      watches,
      keys: names,
    });
    const watchKey = async (key: string) => {
      const watch = store.watch({
        range: { key },
        fromRevision: revision + 1,
        signal: watches.signal,
      });
      for await (const _ of watch) onChange(unit);
    };
    for (const key of keys) {
      // A watch that ends by itself is a reason to look again; the next look sets a new one.
      watchKey(key)
        .catch(() => undefined)
        .finally(() => {
          if (watches.signal.aborted) return;
          const waiting = this.#waiting.get(unit);
          if (waiting?.watches === watches) waiting.keys = "";
          onChange(unit);
        });
    }
  }
}
