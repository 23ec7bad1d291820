import { setImmediate as macrotask } from "node:timers/promises";
import { openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { type Keys, makeKeys } from "../../src/registry/keys.ts";
import type { Store } from "../../src/registry/store.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

/** A store in memory on a clock that is moved by hand: what a test of a program needs besides the program. */
export interface VirtualWorld {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly store: ReturnType<typeof openEmbeddedStore>;
  readonly keys: Keys;
}

export function openVirtualWorld(seed = 1): VirtualWorld {
  const clock = new VirtualClock();
  const random = new SeededRandom(seed);
  return { clock, random, store: openEmbeddedStore({ clock, random }), keys: makeKeys() };
}

/** Writes a record without a condition, as a colleague's program would have. */
export async function putRecord(
  store: Store,
  key: string,
  record: object,
  leaseId?: string,
): Promise<number> {
  const { header } = await store.transact({
    comparisons: [],
    operations: [{ type: "put", key, value: JSON.stringify(record), leaseId }],
  });
  return header.revision;
}

export async function deleteKey(store: Store, key: string): Promise<void> {
  await store.transact({ comparisons: [], operations: [{ type: "delete", key }] });
}

export async function readRecord(
  store: Store,
  key: string,
): Promise<Record<string, unknown> | undefined> {
  const item = (await store.read({ range: { key } })).items[0];
  return item && (JSON.parse(item.value) as Record<string, unknown>);
}

/** Lets everything happen that needs no time to pass. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await macrotask();
}
