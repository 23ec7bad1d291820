/**
 * Backends of a link and the choice among them. Pure: the same backends, numbers and credits give the same choice (I10).
 */
export interface Backend {
  /** Of the instance in the registry: names it in statistics and keeps its share of the balance over changes. */
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** What its sidekick's checks say. `unknown`: nobody checks. `failing` gets no new connection. */
  readonly health: "passing" | "failing" | "unknown";
  /** Share among the backends it competes with, 0 to 65535; 0 gets no new connection. */
  readonly weight: number;
  /** As in SRV records: the lowest number that has a usable backend gets everything. */
  readonly priority: number;
  readonly sameMachine: boolean;
  /** `draining`: established connections live on, new ones go elsewhere. `suspect`: gone without a word, used after all others. */
  readonly presence: "present" | "draining" | "suspect";
}

export interface BalanceOptions {
  readonly balance: "round-robin" | "least-connections";
  /** Within a priority, backends of this machine get everything while there are any. */
  readonly preferSameMachine: boolean;
}

export interface BalanceInput extends BalanceOptions {
  readonly backends: readonly Backend[];
  /** Backends that failed lately: used after all others. */
  readonly ejected: ReadonlySet<string>;
  /** Backends not to be chosen: tried already for this connection, or full. */
  readonly excluded: ReadonlySet<string>;
  /** Connections open or being opened, by backend; absent means none. */
  readonly connections: ReadonlyMap<string, number>;
  /** What `chooseBackend` gave back last time; empty at first. Only round-robin uses it; the caller drops who left. */
  readonly credits: ReadonlyMap<string, number>;
}

export interface Choice {
  readonly backend: Backend;
  readonly credits: ReadonlyMap<string, number>;
}

/** Whether new connections may go there at all. */
export function isUsable(backend: Backend): boolean {
  return backend.health !== "failing" && backend.presence !== "draining" && backend.weight > 0;
}

/** The backend of the next connection, or undefined when none is usable. */
export function chooseBackend(input: BalanceInput): Choice | undefined {
  const group = bestGroup(input);
  if (!isFilled(group)) return undefined;
  return input.balance === "round-robin"
    ? smoothWeighted(group, input.credits)
    : leastConnections(group, input);
}

/** Every usable backend of the best rank, in the order given: those that compete for the next connection. */
export function bestGroup(
  input: Omit<BalanceInput, "credits" | "connections" | "balance">,
): readonly Backend[] {
  let best: readonly number[] | undefined;
  let group: Backend[] = [];
  for (const backend of input.backends) {
    if (!isUsable(backend) || input.excluded.has(backend.id)) continue;
    const rank = [
      input.ejected.has(backend.id) ? 1 : 0,
      backend.presence === "suspect" ? 1 : 0,
      backend.priority,
      input.preferSameMachine && !backend.sameMachine ? 1 : 0,
    ];
    const order = best === undefined ? -1 : compareRanks(rank, best);
    if (order > 0) continue;
    if (order < 0) {
      best = rank;
      group = [];
    }
    group.push(backend);
  }
  return group;
}

function isFilled<T>(list: readonly T[]): list is readonly [T, ...T[]] {
  return list.length > 0;
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0;
    if (value !== other) return value - other;
  }
  return 0;
}

/**
 * Smooth weighted round-robin: everybody earns its weight, the richest is chosen and pays what all earned. Over as many
 * choices as the weights' sum each backend is chosen exactly as often as its weight, and spread out. Ties: the first given.
 */
function smoothWeighted(
  group: readonly [Backend, ...Backend[]],
  before: ReadonlyMap<string, number>,
): Choice {
  const credits = new Map(before);
  let total = 0;
  let backend = group[0];
  let most = Number.NEGATIVE_INFINITY;
  for (const member of group) {
    const credit = (before.get(member.id) ?? 0) + member.weight;
    credits.set(member.id, credit);
    total += member.weight;
    if (credit <= most) continue;
    most = credit;
    backend = member;
  }
  credits.set(backend.id, most - total);
  return { backend, credits };
}

/** Fewest connections for its weight; among equals the one given first. */
function leastConnections(group: readonly [Backend, ...Backend[]], input: BalanceInput): Choice {
  // The connection to come counts too: otherwise weights would say nothing while all are idle.
  const load = (member: Backend) => ((input.connections.get(member.id) ?? 0) + 1) / member.weight;
  const backend = group.reduce((least, member) => (load(member) < load(least) ? member : least));
  return { backend, credits: input.credits };
}
