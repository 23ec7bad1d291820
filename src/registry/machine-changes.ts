import { FleetError } from "../runtime/errors.ts";
import type { Keys } from "./keys.ts";
import { decodeRecord, encodeRecord, type OperatorRecord, operatorRecord } from "./records.ts";
import type { CallOptions, Comparison, Operation, Store } from "./store.ts";

const ATTEMPTS_MAX = 5;
const NO_SETTINGS: OperatorRecord = { metadata: {}, cordoned: false, draining: false };

/** `value` undefined hides the key, also where the machine has it by itself. */
export interface MetadataChange {
  readonly machineId: string;
  readonly key: string;
  readonly value: string | undefined;
}

/** What operators say of machines: `operators/<id>`, and `roster/<id>` when a machine is forgotten. */
export class MachineChanges {
  readonly #store: Store;
  readonly #keys: Keys;

  constructor(options: { readonly store: Store; readonly keys: Keys }) {
    this.#store = options.store;
    this.#keys = options.keys;
  }

  /** All or nothing; of several changes of one key the last holds. Setting values again does no harm, so an answer that was lost is just an error. */
  async changeMetadata(changes: readonly MetadataChange[], call: CallOptions = {}): Promise<void> {
    const byMachine = Map.groupBy(changes, ({ machineId }) => machineId);
    if (byMachine.size === 0) return;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      const comparisons: Comparison[] = [];
      const operations: Operation[] = [];
      for (const [machineId, own] of byMachine) {
        const key = this.#keys.operator(machineId);
        const { items } = await this.#store.read({ range: { key } }, call);
        const item = items[0];
        const record =
          item === undefined ? NO_SETTINGS : decodeRecord(operatorRecord, key, item.value);
        const metadata = { ...record.metadata };
        for (const change of own) metadata[change.key] = change.value ?? null;
        comparisons.push({ type: "modified-at", key, revision: item?.modRevision ?? 0 });
        operations.push({ type: "put", key, value: encodeRecord({ ...record, metadata }) });
      }
      const { applied } = await this.#store.transact({ comparisons, operations }, call);
      if (applied) return;
    }
    throw new FleetError(
      "conflict",
      `cannot change metadata: others changed it ${ATTEMPTS_MAX} times meanwhile, try again`,
      { retriable: true },
    );
  }

  async forget(
    machineId: string,
    call: CallOptions = {},
  ): Promise<"forgotten" | "not-found" | "present"> {
    const roster = this.#keys.roster(machineId);
    const machine = this.#keys.machine(machineId);
    const { items } = await this.#store.read({ range: { key: roster } }, call);
    if (items.length === 0) return "not-found";
    const { applied } = await this.#store.transact(
      {
        comparisons: [{ type: "created-at", key: machine, revision: 0 }],
        operations: [
          { type: "delete", key: roster },
          { type: "delete", key: this.#keys.operator(machineId) },
        ],
      },
      call,
    );
    return applied ? "forgotten" : "present";
  }
}
