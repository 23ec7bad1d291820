import type { Keys, ParsedKey } from "../../src/registry/keys.ts";
import type {
  AssignmentRecord,
  HistoryRecord,
  PlacementRecord,
  StateRecord,
} from "../../src/registry/records.ts";
import type { Comparison, Operation } from "../../src/registry/store.ts";
import type { Entry, RegistryState, Sender, Sent } from "./registry-log.ts";
import type { SimMachine } from "./sim-machine.ts";
import { areApart, WORKLOAD } from "./workload.ts";

export interface RegistryInvariantsOptions {
  readonly keys: Keys;
  readonly machines: readonly SimMachine[];
  /** An operator lets a machine rejoin just now: it may write units. */
  readonly isRejoining: (machine: number) => boolean;
  readonly violate: (invariant: string, sentence: string) => void;
}

/** Kinds whose keys hang on a lease. */
const LEASED_KINDS = new Set(["machines", "states", "leader", "moves"]);
const ENGINE_KINDS = new Set(["placements", "assignments", "blocked", "history"]);

/** Held against every revision of the registry, with the state just before and just after. */
export class RegistryInvariants {
  readonly #options: RegistryInvariantsOptions;
  /** Units that were to be moved by themselves. */
  readonly #asked = new Set<string>();

  constructor(options: RegistryInvariantsOptions) {
    this.#options = options;
  }

  check(entry: Entry, before: RegistryState, after: RegistryState): void {
    if (entry.sent !== undefined) this.#checkSent(entry.sent, before);
    for (const change of entry.changes) {
      const key = change.type === "put" ? change.item.key : change.key;
      const parsed = this.#options.keys.parse(key);
      if (parsed === undefined) continue;
      if (entry.sent === undefined) this.#checkLeaseEnd(key, parsed);
      if (parsed.kind === "placements" || parsed.kind === "assignments") {
        this.#checkOnce(parsed.unit, after);
      }
      if (parsed.kind === "assignments" && change.type === "put" && before.get(key) === undefined) {
        this.#checkOccupancy(parsed.unit, parsed.machineId, change.item.value, before);
      }
      if (parsed.kind === "moves") this.#asked.add(parsed.unit);
      if (parsed.kind === "placements" && change.type === "put") {
        this.#checkMove(parsed.unit, change.item.value, after);
      }
    }
  }

  #checkSent({ sender, transaction }: Sent, before: RegistryState): void {
    const { comparisons, operations } = transaction;
    for (const operation of operations) {
      const parsed = this.#options.keys.parse(operation.key);
      if (parsed === undefined) continue;
      const isCollection = parsed.kind === "files" && operation.type === "delete";
      const isUsedUp = parsed.kind === "moves" && operation.type === "delete";
      const isEngines = ENGINE_KINDS.has(parsed.kind) || isCollection || isUsedUp;
      if (isEngines || parsed.kind === "cluster-format") {
        this.#checkFence(sender, comparisons, operation, before);
      } else if (sender.type === "daemon") {
        this.#checkOwn(sender, comparisons, operation, parsed);
      }
    }
  }

  /** I2: only who holds the lead, and says so in the transaction, decides. */
  #checkFence(
    sender: Sender,
    comparisons: readonly Comparison[],
    { key }: Operation,
    before: RegistryState,
  ): void {
    const leader = before.get(this.#options.keys.leader);
    const isFenced = comparisons.some(
      (one) =>
        one.type === "created-at" &&
        one.key === this.#options.keys.leader &&
        one.revision > 0 &&
        one.revision === leader?.createRevision,
    );
    if (!isFenced) this.#violate("I2", `${nameOf(sender)} wrote ${key} without the leader's fence`);
    const isLeader = sender.type === "daemon" && leader?.value.includes(sender.nonce) === true;
    if (!isLeader) this.#violate("I2", `${nameOf(sender)} wrote ${key} without being the leader`);
  }

  /** I3: besides the lead, a daemon writes only of its own machine, and only while the machine is its own. */
  #checkOwn(
    sender: Extract<Sender, { type: "daemon" }>,
    comparisons: readonly Comparison[],
    { key }: Operation,
    parsed: ParsedKey,
  ): void {
    const { keys, machines, isRejoining } = this.#options;
    const own = machines[sender.machine]?.id ?? "";
    switch (parsed.kind) {
      case "machines":
      case "roster":
        if (parsed.machineId === own) return;
        break;
      case "states": {
        if (parsed.machineId !== own) break;
        const machineKey = keys.machine(own);
        const isBound = comparisons.some(
          (one) => one.type === "modified-at" && one.key === machineKey && one.revision > 0,
        );
        if (isBound) return;
        this.#violate("I3", `${nameOf(sender)} wrote ${key} without comparing its own record`);
        return;
      }
      case "units":
      case "files":
        if (isRejoining(sender.machine)) return;
        break;
      case "leader":
      case "cluster-id":
        if (comparisons.some((one) => one.key === key && one.type === "created-at")) return;
        break;
      default:
        break;
    }
    this.#violate("I3", `${nameOf(sender)} wrote ${key}, which is not its own`);
  }

  #checkLeaseEnd(key: string, parsed: ParsedKey): void {
    if (LEASED_KINDS.has(parsed.kind)) return;
    this.#violate("registry", `${key} hung on a lease`);
  }

  /** I1: a unit that is not global is assigned to one machine at most, and to the one it is placed on. */
  #checkOnce(unit: string, after: RegistryState): void {
    const { keys, machines } = this.#options;
    const holders = machines.filter(({ id }) => {
      const item = after.get(keys.assignment(id, unit));
      return item !== undefined && !(JSON.parse(item.value) as AssignmentRecord).global;
    });
    const names = holders.map(({ name }) => name).join(" and ");
    if (holders.length > 1) this.#violate("I1", `${unit} is assigned to ${names} at once`);
    const placement = after.get(keys.placement(unit));
    if (placement === undefined) {
      if (holders.length > 0)
        this.#violate("I1", `${unit} is assigned to ${names} and placed nowhere`);
      return;
    }
    const { machine } = JSON.parse(placement.value) as PlacementRecord;
    if (holders.some(({ id }) => id !== machine)) {
      this.#violate("I1", `${unit} is assigned to ${names} and placed elsewhere`);
    }
  }

  /** A machine that is drained has one group under way at a time. */
  #checkMove(unit: string, value: string, after: RegistryState): void {
    const { keys, machines } = this.#options;
    const placement = JSON.parse(value) as PlacementRecord;
    const from = placement.moving?.from;
    if (from === undefined) return;
    for (const { name } of WORKLOAD.filter((other) => areApart(other.name, unit))) {
      const other = after.get(keys.placement(name));
      const isThere =
        other !== undefined &&
        (JSON.parse(other.value) as PlacementRecord).machine === placement.machine;
      if (isThere) this.#violate("MaxPerMachine", `${unit} was moved to where ${name} is`);
    }
    // Whoever is tied to a unit whose move was asked for comes along.
    const isAsked = (name: string) =>
      [...this.#asked].some((asked) => asked === name || areTied(asked, name));
    // And whoever has failed goes by itself.
    const history = after.get(keys.history(unit));
    const { entries } = JSON.parse(history?.value ?? '{"entries":[]}') as HistoryRecord;
    const hasFailed = entries.at(-2)?.why === "failed";
    if (isAsked(unit) || hasFailed) return;
    const others = WORKLOAD.filter(({ name }) => {
      const item = name === unit || isAsked(name) ? undefined : after.get(keys.placement(name));
      return (
        item !== undefined &&
        !areTied(name, unit) &&
        (JSON.parse(item.value) as PlacementRecord).moving?.from === from
      );
    });
    if (others.length === 0) return;
    const where = machines.find(({ id }) => id === from)?.name;
    this.#violate(
      "drain",
      `${unit} was sent away from ${where} while ${others[0]?.name} was on its way`,
    );
  }

  /** I8: nobody who is there still holds the unit when it is assigned. */
  #checkOccupancy(unit: string, target: string, value: string, before: RegistryState): void {
    const { keys, machines } = this.#options;
    if ((JSON.parse(value) as AssignmentRecord).global) return;
    for (const { id, name } of machines) {
      if (id === target || before.get(keys.machine(id)) === undefined) continue;
      const item = before.get(keys.state(id, unit));
      if (item === undefined) continue;
      if ((JSON.parse(item.value) as StateRecord).error?.code === "name-taken") continue;
      this.#violate(
        "I8",
        `${unit} was assigned although ${name}, which is present, still holds it`,
      );
    }
  }

  #violate(invariant: string, sentence: string): void {
    this.#options.violate(invariant, sentence);
  }
}

function nameOf(sender: Sender): string {
  return sender.type === "operator" ? "an operator" : `m${sender.machine}`;
}

function areTied(one: string, other: string): boolean {
  const says = (from: string, to: string) =>
    WORKLOAD.some(({ name, xFleet }) => name === from && xFleet.includes(`MachineOf=${to}`));
  return says(one, other) || says(other, one);
}
