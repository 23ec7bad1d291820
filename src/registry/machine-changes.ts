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

/** What an operator sets on one machine; what is left out stays as it is. */
export interface OperatorChange {
  readonly cordoned?: boolean;
  readonly draining?: boolean;
  /** `null` hides the key, also where the machine has it by itself. */
  readonly metadata?: Readonly<Record<string, string | null>>;
  /** Keys that count again as the machine itself has them. */
  readonly reset?: readonly string[];
  /** Confirms that the machine, which is away, is lost. It holds until the machine has been back. */
  readonly evacuate?: true;
}

export type OperatorOutcome =
  | { readonly type: "changed"; readonly record: OperatorRecord }
  | { readonly type: "not-found" }
  /** Only a machine that is away can be given up. */
  | { readonly type: "present" };

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
    await this.#retry(async () => {
      const comparisons: Comparison[] = [];
      const operations: Operation[] = [];
      for (const [machineId, own] of byMachine) {
        const metadata = Object.fromEntries(own.map(({ key, value }) => [key, value ?? null]));
        const { comparison, operation } = await this.#settings(machineId, { metadata }, call);
        comparisons.push(comparison);
        operations.push(operation);
      }
      const { applied } = await this.#store.transact({ comparisons, operations }, call);
      return applied ? true : undefined;
    });
  }

  /** Of a machine that is or was there. By compare-and-swap, so that what others set meanwhile stays. */
  async changeOperator(
    machineId: string,
    change: OperatorChange,
    call: CallOptions = {},
  ): Promise<OperatorOutcome> {
    const [rosterKey, machineKey] = [this.#keys.roster(machineId), this.#keys.machine(machineId)];
    return await this.#retry(async (): Promise<OperatorOutcome | undefined> => {
      const { items } = await this.#store.readKeys({ keys: [rosterKey, machineKey] }, call);
      const roster = items.find(({ key }) => key === rosterKey);
      if (roster === undefined) return { type: "not-found" };
      const revision = roster.modRevision;
      const { evacuate, ...settings } = change;
      if (evacuate && items.length > 1) return { type: "present" };
      const { comparison, operation, record } = await this.#settings(
        machineId,
        evacuate ? { ...settings, evacuate: revision } : settings,
        call,
      );
      const comparisons: Comparison[] = [
        comparison,
        evacuate
          ? { type: "modified-at", key: rosterKey, revision }
          : { type: "created-at", key: rosterKey, revision: roster.createRevision },
      ];
      if (evacuate) comparisons.push({ type: "created-at", key: machineKey, revision: 0 });
      const { applied } = await this.#store.transact(
        { comparisons, operations: [operation] },
        call,
      );
      return applied ? { type: "changed", record } : undefined;
    });
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

  async #settings(
    machineId: string,
    change: Omit<OperatorChange, "evacuate"> & { readonly evacuate?: number },
    call: CallOptions,
  ) {
    const key = this.#keys.operator(machineId);
    const item = (await this.#store.read({ range: { key } }, call)).items[0];
    const before = item === undefined ? NO_SETTINGS : decodeRecord(operatorRecord, key, item.value);
    const { metadata, reset = [], ...settings } = change;
    const kept = Object.entries(before.metadata).filter(([name]) => !reset.includes(name));
    const record = {
      ...before,
      ...settings,
      metadata: { ...Object.fromEntries(kept), ...metadata },
    };
    const comparison: Comparison = { type: "modified-at", key, revision: item?.modRevision ?? 0 };
    const operation: Operation = { type: "put", key, value: encodeRecord(record) };
    return { comparison, operation, record };
  }

  /** `attempt` gives undefined when somebody else was faster. */
  async #retry<T>(attempt: () => Promise<T | undefined>): Promise<T> {
    for (let count = 1; count <= ATTEMPTS_MAX; count += 1) {
      const result = await attempt();
      if (result !== undefined) return result;
    }
    throw new FleetError(
      "conflict",
      `cannot change the machine's settings: others changed them ${ATTEMPTS_MAX} times meanwhile, try again`,
      { retriable: true },
    );
  }
}
