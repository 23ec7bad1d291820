import type { Keys } from "../registry/keys.ts";
import { decodeRecord, encodeRecord, type UnitRecord, unitRecord } from "../registry/records.ts";
import type { CallOptions, KeyValue, Store } from "../registry/store.ts";
import { manifestHash, manifestRequirements } from "../units/manifest.ts";
import type { Holdings } from "./holdings.ts";
import type { HeldUnit } from "./systemd.ts";

export interface ResubmitOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly holdings: Holdings;
  readonly held: readonly HeldUnit[];
  readonly call: CallOptions;
}

/**
 * Puts back into an emptied registry what this machine holds, so that nothing has to stop. Units that are there already with the same
 * content (another machine was first) are adopted; others are left as they are. Repeating it is harmless. Gives back the units put back or adopted.
 */
export async function resubmitHeldUnits(options: ResubmitOptions): Promise<readonly string[]> {
  const kept: string[] = [];
  for (const held of options.held) {
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

async function submitIfAbsent(
  options: ResubmitOptions,
  held: HeldUnit,
): Promise<KeyValue | undefined> {
  const { store, keys, holdings, call } = options;
  const key = keys.unit(held.unit);
  const hash = manifestHash(held.manifest);
  const start = holdings.start(held.unit);
  const record: UnitRecord = {
    desired: start === undefined ? "loaded" : "launched",
    manifest: hash,
    restarts: start?.restarts ?? 0,
    global: manifestRequirements(held.unit, held.manifest).requirements.global,
  };
  await store.transact(
    {
      comparisons: [{ type: "created-at", key, revision: 0 }],
      operations: [
        { type: "put", key: keys.file(hash), value: encodeRecord(held.manifest) },
        { type: "put", key, value: encodeRecord(record) },
      ],
    },
    call,
  );
  return (await store.read({ range: { key } }, call)).items[0];
}
