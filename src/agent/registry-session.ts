import { follow } from "../registry/follow.ts";
import { decodeRecord, machineRecord } from "../registry/records.ts";
import { readAll } from "../registry/store.ts";
import { FleetError } from "../runtime/errors.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";
import { untilFirst } from "../runtime/until-first.ts";
import type { Assignments } from "./assignments.ts";
import type { ClusterTrust } from "./cluster-trust.ts";
import type { Handback } from "./handback.ts";
import type { Holdings } from "./holdings.ts";
import type { LeaseFence } from "./lease-fence.ts";
import { acquirePresence, type HeldPresence, type PresenceOptions } from "./presence.ts";
import type { StatePublisher } from "./state-publisher.ts";
import type { TaskRunner } from "./task-runner.ts";

/** What runs while the machine is present. */
export interface RegistrySession {
  readonly presence: HeldPresence;
  readonly tasks: Loop;
  readonly states: Loop;
  end(): void;
}

export interface RegistrySessionOptions extends PresenceOptions {
  readonly random: Random;
  readonly trust: ClusterTrust;
  readonly holdings: Holdings;
  readonly assignments: Assignments;
  readonly handback: Handback;
  readonly publisher: StatePublisher;
  readonly runner: TaskRunner;
  readonly fence: LeaseFence;
  /** While that is so nothing is done for the assignments. */
  readonly isRejoining: () => boolean;
  readonly onBegin: (session: RegistrySession) => void;
  readonly onPresenceLost: () => void;
  /** Assignments have come, changed or gone. */
  readonly onAssigned: () => void;
  /** States may have been written. */
  readonly onFlush: () => void;
  readonly onEnd: () => void;
}

const LEASE_RECHECK_MS = 200;
const LOOP_BACKOFF = { firstMs: 100, maxMs: 5_000 };

/** From taking the machine's record until its lease is lost, the record changes hands, or the registry is no longer the right one. */
export async function runRegistrySession(
  options: RegistrySessionOptions,
  signal: AbortSignal,
): Promise<void> {
  const { store, keys, host, logger, trust, holdings, publisher, fence } = options;
  const presence = await acquirePresence(options, signal);
  const published = await readAll(store, { prefix: keys.statesOf(host.machineId) }, { signal });
  trust.saw(published.header.revision);
  publisher.begin(presence, published.items, holdings.units());
  await fence.begin(presence.lease, signal);
  const ended = new AbortController();
  const known = { assigned: false };
  const tasks = taskLoop(options, presence, known);
  const states = stateLoop(options);
  const fencing = new Loop({
    ...options,
    name: "fence",
    backoff: LOOP_BACKOFF,
    pass: (running) => fence.pass(running),
  });
  options.onBegin({ presence, tasks, states, end: () => ended.abort() });
  try {
    await untilFirst(AbortSignal.any([signal, ended.signal]), [
      async (running) => {
        const lost = await presence.lease.keep(running, () => fencing.wake());
        options.onPresenceLost();
        logger.warn("presence-lost", { why: lost });
      },
      (running) => watchRecord(options, presence, running),
      (running) =>
        followAssignments(options, running, () => {
          known.assigned = true;
          options.onAssigned();
          tasks.wake();
        }),
      (running) => tasks.run(running),
      (running) => states.run(running),
      (running) => fencing.run(running),
    ]);
  } finally {
    options.onEnd();
    publisher.end();
    fence.end();
    options.runner.forgetClaims();
    options.handback.settleAll();
  }
}

function taskLoop(
  options: RegistrySessionOptions,
  presence: HeldPresence,
  known: { readonly assigned: boolean },
): Loop {
  return new Loop({
    ...options,
    name: "agent",
    backoff: LOOP_BACKOFF,
    pass: async (running) => {
      await options.trust.remember();
      if (!known.assigned || options.isRejoining()) return undefined;
      // A keep-alive that is answered late makes it valid again, and nobody would wake this loop for it.
      if (!presence.lease.isValid()) return LEASE_RECHECK_MS;
      return options.runner.pass(running);
    },
  });
}

function stateLoop(options: RegistrySessionOptions): Loop {
  return new Loop({
    ...options,
    name: "states",
    backoff: LOOP_BACKOFF,
    pass: async (running) => {
      const againMs = await options.publisher.flush(running);
      options.onFlush();
      return againMs;
    },
  });
}

async function followAssignments(
  options: RegistrySessionOptions,
  signal: AbortSignal,
  onChange: () => void,
): Promise<void> {
  const { store, clock, logger, keys, trust, assignments, holdings, runner } = options;
  await follow({
    store,
    clock,
    logger,
    range: { prefix: assignments.prefix },
    signal,
    onSnapshot: async (items, header) => {
      const id = await store.read(
        { range: { key: keys.clusterId }, revision: header.revision },
        { signal },
      );
      trust.demand(id.header, id.items[0]);
      for (const unit of assignments.replaceAll(items)) runner.markChanged(unit);
      for (const unit of holdings.units()) runner.mark(unit);
      onChange();
    },
    onChanges: (changes, revision) => {
      trust.saw(revision);
      for (const unit of assignments.apply(changes)) runner.markChanged(unit);
      onChange();
    },
  });
}

/** Ends when the machine's record is deleted or changed; rejects when another daemon took it. */
async function watchRecord(
  { store, keys, host, nonce }: RegistrySessionOptions,
  presence: HeldPresence,
  signal: AbortSignal,
): Promise<void> {
  const key = keys.machine(host.machineId);
  const fromRevision = presence.revision + 1;
  for await (const batch of store.watch({ range: { key }, fromRevision, signal })) {
    if (batch.type === "reset") return;
    for (const change of batch.changes) {
      if (change.type === "delete") return;
      const record = decodeRecord(machineRecord, change.item.key, change.item.value);
      if (record.nonce === nonce) return;
      throw new FleetError(
        "duplicate-machine",
        `another fleetd-ts has taken over machine ${host.machineId} (${record.address || "no address"}): this one ends`,
      );
    }
  }
}
