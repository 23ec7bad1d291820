import type { Keys } from "../registry/keys.ts";
import { decodeRecord, encodeRecord, type UnitRecord, unitRecord } from "../registry/records.ts";
import type { KeyValue, Store } from "../registry/store.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { manifestHash, manifestRequirements } from "../units/manifest.ts";
import type { Holdings } from "./holdings.ts";
import type { HeldUnit, Systemd } from "./systemd.ts";

export interface KeepOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  /** Whether the registry shows the unit as held here. */
  readonly isPublished: (unit: string) => boolean;
  readonly isPresent: () => boolean;
  readonly signal: AbortSignal;
}

const PUBLISH_MAX_MS = 60_000;
const PUBLISH_RECHECK_MS = 50;

/**
 * Puts back into an emptied registry what this machine holds, so that nothing has to stop. Units that are there already with the same
 * content (another machine was first) are adopted; others are left as they are. Repeating it is harmless. Gives back the units put back or adopted.
 */
export async function keepHeldUnits(options: KeepOptions): Promise<readonly string[]> {
  // The engine has to see what runs here before it sees that it is wanted, or it would place it anywhere.
  await untilPublished(options);
  const kept: string[] = [];
  for (const held of await options.systemd.held()) {
    const item = await submitIfAbsent(options, held);
    if (item === undefined) continue;
    const record = decodeRecord(unitRecord, item.key, item.value);
    if (record.manifest !== manifestHash(held.manifest)) continue;
    const start = options.holdings.start(held.unit);
    if (start !== undefined) {
      // Another identity or restart counter would read as another unit, to be stopped and started.
      await options.holdings.setStart(held.unit, {
        ...start,
        identity: item.createRevision,
        restarts: record.restarts,
      });
    }
    kept.push(held.unit);
  }
  return kept;
}

/** Until the registry shows every unit this machine holds. */
async function untilPublished(options: KeepOptions): Promise<void> {
  const { clock, holdings, isPublished, isPresent, signal } = options;
  const untilMs = clock.monotonicMs() + PUBLISH_MAX_MS;
  while (!isPresent() || !holdings.units().every(isPublished)) {
    if (clock.monotonicMs() >= untilMs) {
      throw new FleetError(
        "timed-out",
        "the registry did not take this machine's units: see the daemon's log, then try again",
      );
    }
    await sleep(clock, PUBLISH_RECHECK_MS, signal);
  }
}

async function submitIfAbsent(options: KeepOptions, held: HeldUnit): Promise<KeyValue | undefined> {
  const { store, keys, holdings, signal } = options;
  const call = { signal };
  const key = keys.unit(held.unit);
  const hash = manifestHash(held.manifest);
  const start = holdings.start(held.unit);
  const { requirements, problems } = manifestRequirements(held.unit, held.manifest);
  // The disk does not say how it was read. It was taken once, so if strictly it cannot be, it was taken leniently.
  const manifest = problems.length === 0 ? held.manifest : { ...held.manifest, lenient: true };
  const record: UnitRecord = {
    desired: start === undefined ? "loaded" : "launched",
    manifest: hash,
    restarts: start?.restarts ?? 0,
    global: requirements.global,
  };
  await store.transact(
    {
      comparisons: [{ type: "created-at", key, revision: 0 }],
      operations: [
        { type: "put", key: keys.file(hash), value: encodeRecord(manifest) },
        { type: "put", key, value: encodeRecord(record) },
      ],
    },
    call,
  );
  return (await store.read({ range: { key } }, call)).items[0];
}
