import type {
  AssignmentSpec,
  ClusterFact,
  FactValue,
  MachineSpec,
  OperatorSpec,
  PlacementSpec,
  StateSpec,
  UnitSpec,
} from "../../src/cluster/facts.ts";
import type { RequirementsReader } from "../../src/cluster/manifest-table.ts";
import { type EngineTask, type PlaceTask, taskEffects } from "../../src/engine/tasks.ts";
import { globMatches } from "../../src/units/glob.ts";
import type { Manifest } from "../../src/units/manifest.ts";
import type { Amount, MetadataRequirement, Requirements } from "../../src/units/requirements.ts";
import { expandMachineSpecifiers } from "../../src/units/specifiers.ts";
import { templateOf } from "../../src/units/unit-name.ts";

/**
 * A slow, obvious planner that judges the real one: it knows the rules of placing, looks at every machine, has no index and shares none
 * of the planner's code. Fed with the same facts, it says of a plan what was not allowed, what was not the best choice, and
 * who was left without a place that there was. It does not know records that cannot be read.
 */
export class Oracle {
  readonly #read: RequirementsReader;
  /** Kind -> machine, empty where there is none -> unit, manifest or machine. */
  readonly #records = new Map<string, Map<string, Map<string, FactValue<object>>>>();
  readonly #units = new Set<string>();
  readonly #machines = new Set<string>();
  /** Machine -> units that a placement, an assignment or a state names there. */
  readonly #on = new Map<string, Set<string>>();
  /** Unit -> manifest. */
  readonly #requirements = new Map<string, Map<string, Requirements | undefined>>();
  readonly #lost: ReadonlySet<string>;

  constructor(read: RequirementsReader, options: { readonly lost: ReadonlySet<string> }) {
    this.#read = read;
    this.#lost = options.lost;
  }

  apply(fact: ClusterFact): void {
    const before = fact.kind === "placement" ? this.#placedOn(fact.unit) : undefined;
    const machineId = "machineId" in fact ? fact.machineId : undefined;
    if (fact.kind === "file") {
      this.#put(fact, fact.manifest);
      this.#requirements.clear();
      return;
    }
    if (machineId !== undefined) this.#machines.add(machineId);
    if (!("unit" in fact)) {
      this.#put(fact, fact.machineId);
      return;
    }
    this.#put(fact, fact.unit, machineId);
    this.#units.add(fact.unit);
    const after = fact.kind === "placement" ? this.#placedOn(fact.unit) : undefined;
    for (const id of [before, after, machineId]) {
      if (id !== undefined) this.#on.set(id, (this.#on.get(id) ?? new Set()).add(fact.unit));
    }
  }

  #put({ kind, value }: ClusterFact, name: string, machineId = ""): void {
    const byMachine = this.#records.get(kind) ?? new Map();
    this.#records.set(kind, byMachine);
    const byName = byMachine.get(machineId) ?? new Map();
    byMachine.set(machineId, byName.set(name, value));
  }

  /** What is wrong with a plan; empty: nothing. Takes over what the tasks do. `choices`: judge every so manieth choice. */
  judge(tasks: readonly EngineTask[], options: { readonly choices?: number } = {}): string[] {
    const faults: string[] = [];
    const touched = new Set<string>();
    for (let at = 0; at < tasks.length; ) {
      const task = tasks[at];
      if (task === undefined) break;
      const together = [task, ...sameBundle(tasks.slice(at + 1, at + 200), task)];
      if (task.type === "place") {
        const choice = at % (options.choices ?? 1) === 0;
        faults.push(...this.#judgePlace(together as PlaceTask[], choice));
      } else if (task.type === "assign" && !this.#record("assignment", task.unit, task.machineId)) {
        const isGlobal = this.#spec(task.unit)?.global === true;
        const why = isGlobal ? this.whyNot(task.unit, task.machineId, [task.unit]) : undefined;
        if (why !== undefined) faults.push(`${task.unit} on ${task.machineId}: ${why}`);
      }
      for (const one of together) {
        if ("unit" in one) touched.add(one.unit);
        for (const fact of taskEffects(one)) this.apply(fact);
      }
      at += together.length;
    }
    return [...faults, ...this.#judgeBlocked(touched)];
  }

  /** Why units that come together (`coming`) cannot be on the machine because of `unit`, one of them. */
  whyNot(
    unit: string,
    machineId: string,
    coming: readonly string[],
    holds = false,
  ): string | undefined {
    const machine = this.#machine(machineId);
    const wish = this.#wish(unit);
    if (machine === undefined) return "not there";
    if (wish === undefined) return "nobody knows what it wants";
    const operator = this.#operator(machineId);
    if (machine.leaving || operator?.draining || (operator?.cordoned && !holds)) return "closed";
    if (this.#state(machineId, unit)?.error?.code === "name-taken") return "name taken";
    const isNamed = (id: string) =>
      [machineId, machineId.slice(0, 8)].includes(this.#expand(id, machineId));
    if (wish.machineId !== undefined && !isNamed(wish.machineId)) return "another machine is named";
    if (wish.notMachineIds.some(isNamed)) return "the machine is excluded";
    if (!wish.metadata.every((one) => this.#isMet(one, machineId))) return "metadata";
    const others = this.#occupants(machineId).filter((name) => !coming.includes(name));
    for (const peer of wish.machineOf) {
      if (!coming.includes(peer) && !this.#isPeerOn(peer, machineId)) return `without ${peer}`;
    }
    // Of those that come along only what they ask for now counts: what is there of them is replaced together.
    const says = (option: "conflicts" | "replaces", one: string, other: string) =>
      this.#says(option, one, other, { machineId, isComing: coming.includes(one) });
    for (const other of [...others, ...coming]) {
      if (says("conflicts", unit, other)) return `conflicts with ${other}`;
      if (says("conflicts", other, unit)) return `${other} conflicts`;
      if (says("replaces", other, unit) && !says("replaces", unit, other)) {
        return `${other} replaces it`;
      }
    }
    return holds ? undefined : this.#whyNoRoom(wish, { unit, machineId, coming, others });
  }

  #whyNoRoom(
    wish: Requirements,
    place: {
      unit: string;
      machineId: string;
      coming: readonly string[];
      others: readonly string[];
    },
  ): string | undefined {
    const { unit, machineId, coming, others } = place;
    const template = templateOf(unit);
    const instances = [...others, ...coming].filter((name) => templateOf(name) === template).length;
    const max = template === undefined ? undefined : wish.maxPerMachine;
    if (max !== undefined && instances > max) return "too many instances";
    if (wish.reservation === undefined) return undefined;
    const { capacity, overcommit } = this.#machine(machineId) ?? {};
    const occupants = this.#occupants(machineId);
    const newcomers = coming.filter((name) => !occupants.includes(name));
    const limits = {
      memory: (capacity?.memoryBytes ?? 0) * (overcommit?.memory ?? 1),
      cores: (capacity?.cpus ?? 0) * (overcommit?.cpu ?? 1),
      tasks: (capacity?.tasks ?? 0) * (overcommit?.tasks ?? 1),
    };
    for (const resource of ["memory", "cores", "tasks"] as const) {
      const sum = (names: readonly string[]) =>
        names.reduce((total, name) => total + this.#reserves(name, machineId, resource), 0);
      const wanted = sum(newcomers);
      if (wanted > 0 && sum(occupants) + wanted > limits[resource]) return `no ${resource}`;
    }
    return undefined;
  }

  /** The machine that the ranking picks of those that take all of them. */
  best(units: readonly string[]): string | undefined {
    const ranks = new Map(this.#takers(units).map((id) => [id, this.#rank(units, id)]));
    return [...ranks].sort(([, a], [, b]) => compareRanks(a, b))[0]?.[0];
  }

  #takers(units: readonly string[]): readonly string[] {
    // Followers that stay where they are say where their peer has to go.
    const homes = [...this.#units].flatMap((name) => {
      const follows = units.some((unit) => this.#follows(name, unit));
      const isFree = !follows || units.includes(name) || !this.#isWanted(name);
      return isFree || this.#isHomeless(name) ? [] : (this.#placedOn(name) ?? []);
    });
    return [...this.#machines].filter(
      (id) =>
        homes.every((home) => home === id) &&
        units.every((unit) => this.whyNot(unit, id, units) === undefined),
    );
  }

  #rank(units: readonly string[], machineId: string): readonly (number | string)[] {
    const wishes = units.map((unit) => ({ unit, wish: this.#wish(unit) }));
    const preferences = wishes.flatMap(({ wish }) =>
      (wish?.preferredMetadata ?? []).map((one) => (this.#isMet(one, machineId) ? 0 : 1)),
    );
    const spreads = wishes.flatMap(({ unit, wish }) => {
      const template = templateOf(unit);
      if (wish?.spreadBy === undefined || template === undefined) return [];
      const value = this.#metadata(machineId).get(wish.spreadBy);
      if (value === undefined) return [Number.POSITIVE_INFINITY];
      const alike = [...this.#machines].filter(
        (id) => this.#metadata(id).get(wish.spreadBy ?? "") === value,
      );
      const there = alike.flatMap((id) => this.#occupants(id));
      return [
        there.filter((name) => !units.includes(name) && templateOf(name) === template).length,
      ];
    });
    const load = this.#occupants(machineId).reduce(
      (sum, name) => sum + Math.max(...this.#versions(name, machineId).map(({ weight }) => weight)),
      0,
    );
    return [...preferences, ...spreads, load, machineId];
  }

  #judgePlace(tasks: readonly PlaceTask[], isChoiceJudged: boolean): string[] {
    const [{ machineId, why, placement } = tasks[0] as PlaceTask] = tasks;
    const units = tasks.map(({ unit }) => unit);
    // It has its place already: what is written now is that it starts there.
    if (why.type === "moved") return [];
    const isHeld = units.some((unit) => this.#occupants(machineId).includes(unit));
    const faults = units.flatMap((unit) => {
      const holds = isHeld && this.#state(machineId, unit) !== undefined;
      const reason = this.whyNot(unit, machineId, units, holds);
      return reason === undefined ? [] : [`${unit} on ${machineId}: ${reason}`];
    });
    // Where somebody wants it, or where it is already: nothing was to be chosen.
    const isChosen = !isHeld && why.type !== "rebalance" && placement.moving === undefined;
    if (faults.length > 0 || !isChosen || !isChoiceJudged) return faults;
    const best = this.best(units);
    return best === machineId ? [] : [`${units} on ${machineId} instead of ${best}`];
  }

  /** Wanted, and nowhere, although there is a machine for it and all who go with it. */
  #judgeBlocked(touched: ReadonlySet<string>): string[] {
    const faults: string[] = [];
    const seen = new Set<string>();
    for (const unit of this.#units) {
      if (this.#isWanted(unit) && this.#spec(unit)?.global === true) {
        faults.push(...this.#judgeGlobal(unit, touched));
      }
      if (seen.has(unit) || !this.#isHomeless(unit)) continue;
      const group = this.#tiedTo(unit, (name) => this.#isHomeless(name));
      for (const name of group) seen.add(name);
      // Whoever goes with one that was acted on has his turn when that is written.
      if (this.#tiedTo(unit, (name) => this.#isWanted(name)).some((name) => touched.has(name)))
        continue;
      if (group.some((name) => this.#isStopping(name))) continue;
      const [machine] = this.#takers(group);
      if (machine !== undefined) faults.push(`${group} nowhere, although ${machine} takes it`);
    }
    return faults;
  }

  #judgeGlobal(unit: string, touched: ReadonlySet<string>): string[] {
    if (touched.has(unit) || this.#placedOn(unit) !== undefined) return [];
    return [...this.#machines].flatMap((id) => {
      const isThere = this.#record("assignment", unit, id) !== undefined;
      const takes = !isThere && this.whyNot(unit, id, [unit]) === undefined;
      return takes ? [`${unit} is not on ${id}, which takes it`] : [];
    });
  }

  #isHomeless(unit: string): boolean {
    if (!this.#isWanted(unit) || this.#spec(unit)?.global !== false) return false;
    const placedOn = this.#placedOn(unit);
    if (placedOn === undefined) return true;
    const isLost = this.#lost.has(placedOn) && this.#machine(placedOn) === undefined;
    return isLost || this.#state(placedOn, unit)?.error?.code === "name-taken";
  }

  /** The unit and all who are tied to it by units that count. Oldest first. */
  #tiedTo(unit: string, counts: (name: string) => boolean): readonly string[] {
    const found = new Set([unit]);
    for (const name of found) {
      for (const other of this.#units) {
        const isTied = this.#follows(name, other) || this.#follows(other, name);
        if (isTied && counts(other)) found.add(other);
      }
    }
    return [...found].sort((a, b) => this.#identity(a) - this.#identity(b) || (a < b ? -1 : 1));
  }

  #follows(unit: string, peer: string): boolean {
    return this.#wish(unit)?.machineOf.includes(peer) === true;
  }

  /** A machine that is there has not let go of it, so that it may start nowhere. */
  #isStopping(unit: string): boolean {
    return [...this.#machines].some((id) => {
      const isThere = this.#machine(id) !== undefined;
      const state = this.#state(id, unit);
      const isHeld = state !== undefined && state.error?.code !== "name-taken";
      return isThere && (isHeld || this.#record("assignment", unit, id) !== undefined);
    });
  }

  #isPeerOn(peer: string, machineId: string): boolean {
    if (!this.#isWanted(peer)) return false;
    return this.#spec(peer)?.global === true
      ? this.#record("assignment", peer, machineId) !== undefined
      : this.#placedOn(peer) === machineId && !this.#isHomeless(peer);
  }

  #occupants(machineId: string): readonly string[] {
    return [...(this.#on.get(machineId) ?? [])].filter((name) => {
      const state = this.#state(machineId, name);
      return (
        this.#placedOn(name) === machineId ||
        this.#record("assignment", name, machineId) !== undefined ||
        (state !== undefined && state.error?.code !== "name-taken")
      );
    });
  }

  /** What the unit asks for there, as it is now and as the machine still has it. */
  #versions(unit: string, machineId: string): readonly Requirements[] {
    const assigned = this.#record<AssignmentSpec>("assignment", unit, machineId)?.manifest;
    const held = this.#state(machineId, unit);
    const heldManifest = held?.error?.code === "name-taken" ? undefined : held?.manifest;
    const own = this.#spec(unit)?.manifest;
    const manifests = new Set([own, assigned ?? own, heldManifest ?? own]);
    const versions = [...manifests].flatMap((hash) => this.#wishOf(unit, hash) ?? []);
    return versions.length > 0 ? versions : [NOTHING];
  }

  #says(
    option: "conflicts" | "replaces",
    one: string,
    other: string,
    where: { readonly machineId: string; readonly isComing: boolean },
  ): boolean {
    if (one === other) return false;
    const { machineId, isComing } = where;
    const versions = isComing ? [this.#wish(one) ?? NOTHING] : this.#versions(one, machineId);
    return versions.some((wish) =>
      wish[option].some((pattern) => globMatches(this.#expand(pattern, machineId), other)),
    );
  }

  #reserves(unit: string, machineId: string, resource: "memory" | "cores" | "tasks"): number {
    const { capacity } = this.#machine(machineId) ?? {};
    const amounts = this.#versions(unit, machineId).map(({ reservation }) => {
      if (resource === "cores") return reservation?.cores ?? 0;
      const whole = resource === "memory" ? capacity?.memoryBytes : capacity?.tasks;
      return amountOf(reservation?.[resource], whole ?? 0);
    });
    return Math.max(...amounts);
  }

  #isMet({ key, operator, values }: MetadataRequirement, machineId: string): boolean {
    const value = this.#metadata(machineId).get(key);
    const meant = values.map((one) => this.#expand(one, machineId));
    const isOneOf = value !== undefined && meant.includes(value);
    return operator === "in" ? isOneOf : !isOneOf;
  }

  #expand(text: string, machineId: string): string {
    const hostname = this.#metadata(machineId).get("hostname") ?? "";
    return expandMachineSpecifiers(text, { machineId, hostname });
  }

  #metadata(machineId: string): ReadonlyMap<string, string> {
    const machine = this.#machine(machineId);
    const layers = {
      ...machine?.automatic,
      ...machine?.metadata,
      ...this.#operator(machineId)?.metadata,
    };
    return new Map(
      Object.entries(layers).flatMap(([key, value]) => (value === null ? [] : [[key, value]])),
    );
  }

  #isWanted(unit: string): boolean {
    const spec = this.#spec(unit);
    return spec !== undefined && spec.desired !== "inactive";
  }

  #wish(unit: string): Requirements | undefined {
    return this.#wishOf(unit, this.#spec(unit)?.manifest);
  }

  #wishOf(unit: string, manifest: string | undefined): Requirements | undefined {
    const file = manifest === undefined ? undefined : this.#record<Manifest>("file", manifest);
    if (file === undefined || manifest === undefined) return undefined;
    const read = this.#requirements.get(unit) ?? new Map<string, Requirements | undefined>();
    this.#requirements.set(unit, read);
    if (!read.has(manifest)) read.set(manifest, this.#tryRead(unit, file));
    return read.get(manifest);
  }

  #tryRead(unit: string, file: Manifest): Requirements | undefined {
    try {
      return this.#read(unit, file);
    } catch {
      return undefined;
    }
  }

  #spec(unit: string): UnitSpec | undefined {
    return this.#record<UnitSpec>("unit", unit);
  }

  #identity(unit: string): number {
    const value = this.#records.get("unit")?.get("")?.get(unit);
    return typeof value === "object" ? value.createRevision : 0;
  }

  #machine(machineId: string): MachineSpec | undefined {
    return this.#record<MachineSpec>("machine", machineId);
  }

  #operator(machineId: string): OperatorSpec | undefined {
    return this.#record<OperatorSpec>("operator", machineId);
  }

  #state(machineId: string, unit: string): StateSpec | undefined {
    return this.#record<StateSpec>("state", unit, machineId);
  }

  #placedOn(unit: string): string | undefined {
    return this.#record<PlacementSpec>("placement", unit)?.machine;
  }

  #record<T extends object>(
    kind: ClusterFact["kind"],
    name: string,
    machineId = "",
  ): T | undefined {
    const value = this.#records.get(kind)?.get(machineId)?.get(name);
    return typeof value === "object" ? (value.record as T) : undefined;
  }
}

const NOTHING = { conflicts: [], replaces: [], weight: 1 } as unknown as Requirements;

function amountOf(amount: Amount | undefined, whole: number): number {
  if (amount === undefined) return 0;
  return amount.type === "absolute" ? amount.amount : Math.ceil(amount.ratio * whole);
}

function sameBundle(tasks: readonly EngineTask[], first: EngineTask): readonly EngineTask[] {
  const nameOf = (task: EngineTask) =>
    task.type === "place" ? task.bundle?.replace(/ \d+$/, "") : undefined;
  const name = nameOf(first);
  if (name === undefined) return [];
  const end = tasks.findIndex((task) => nameOf(task) !== name);
  return end === -1 ? tasks : tasks.slice(0, end);
}

function compareRanks(
  left: readonly (number | string)[],
  right: readonly (number | string)[],
): number {
  const at = left.findIndex((value, index) => value !== right[index]);
  const [one, other] = [left[at] ?? 0, right[at] ?? 0];
  return at === -1 ? 0 : one < other ? -1 : 1;
}
