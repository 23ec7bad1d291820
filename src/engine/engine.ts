import { follow } from "../registry/follow.ts";
import { encodeRecord } from "../registry/records.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { sleep } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Liveness } from "../runtime/liveness.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";
import { untilFirst } from "../runtime/until-first.ts";
import { type CampaignOptions, campaign, giveBack, type Lead } from "./leader.ts";
import { LeaderSession } from "./session.ts";
import { type EngineLimits, type EngineTuning, engineTuning } from "./tuning.ts";

export interface EngineOptions extends Omit<CampaignOptions, "leaderTtlMs"> {
  readonly random: Random;
  readonly options?: EngineLimits;
  /** When this machine's own presence ended last, because the registry was out of reach (monotonic milliseconds). */
  readonly registryLostMs?: () => number | undefined;
  readonly liveness?: Liveness;
  /** Whether this engine has the lead from now on. */
  readonly onLead?: (leads: boolean) => void;
  readonly signal: AbortSignal;
}

interface Engine extends CampaignOptions {
  readonly random: Random;
  readonly tuning: EngineTuning;
  readonly liveness?: Liveness;
  readonly onLead?: (leads: boolean) => void;
}

const RETRY = { firstMs: 100, maxMs: 1_000 };
const PASS_BACKOFF = { firstMs: 50, maxMs: 1_000 };
/** The first format there is. */
const FORMAT_MINIMUM = 1;

/**
 * One engine of the cluster: waits for the lead, and while it has it keeps placements, assignments and blocked reasons as the units
 * ask for. Runs until `signal` aborts, then gives the lead away at once. Survives every outage of the store by itself.
 */
export async function runEngine(options: EngineOptions): Promise<void> {
  const { clock, logger, random, signal } = options;
  const tuning = engineTuning(options.options);
  const engine: Engine = { ...options, tuning, leaderTtlMs: tuning.leaderTtlMs };
  let failures = 0;
  let lostStore = false;
  while (!signal.aborted) {
    try {
      const lead = await campaign(engine, signal);
      failures = 0;
      logger.info("engine-leads", { machine: options.machineId, token: lead.token });
      // A candidate only waits to be told that the lead is free: it may not have noticed that the store was away.
      const lostMs = options.registryLostMs?.();
      if (lostMs !== undefined && clock.monotonicMs() - lostMs < tuning.bootGraceMs)
        lostStore = true;
      lostStore = await leadOn(engine, { lead, lostStore, signal });
    } catch (error) {
      if (signal.aborted) return;
      if (!isFleetError(error) || !(error.retriable || error.code === "conflict")) throw error;
      lostStore ||= error.retriable;
      failures += 1;
      logger.warn("engine-waits", { error: errorMessage(error) });
    }
    const waitMs = backoffMs(Math.max(1, failures), RETRY, random.fraction());
    await sleep(clock, waitMs, signal).catch(() => undefined);
  }
}

/** Leads until the lease is lost or `signal` aborts; gives back whether the store was out of reach. */
async function leadOn(
  engine: Engine,
  options: { readonly lead: Lead; readonly lostStore: boolean; readonly signal: AbortSignal },
): Promise<boolean> {
  const { store, keys, clock, logger, random } = engine;
  const { lead, lostStore, signal } = options;
  const loop = new Loop({
    name: "engine",
    liveness: engine.liveness,
    clock,
    random,
    logger,
    backoff: PASS_BACKOFF,
    pass: (passSignal) => session.pass(passSignal),
  });
  const session = new LeaderSession({ ...engine, lead, lostStore, wake: () => loop.wake() });
  let ended: "gone" | "expired" | undefined;
  try {
    engine.onLead?.(true);
    await noteFormat(engine, lead, signal);
    await untilFirst(signal, [
      async (leadSignal) => {
        ended = await lead.lease.keep(leadSignal);
      },
      (leadSignal) =>
        follow({
          store,
          clock,
          logger,
          range: { prefix: keys.prefix },
          signal: leadSignal,
          onSnapshot: (items, header) => session.onSnapshot(items, header),
          onChanges: (changes, revision) => session.onChanges(changes, revision),
        }),
      (leadSignal) => loop.run(leadSignal),
    ]);
  } finally {
    engine.onLead?.(false);
    logger.info("engine-lead-ended", { why: ended ?? "stopped" });
    await giveBack(lead.lease);
  }
  return ended !== undefined;
}

/** Says which record format an engine has to understand at least. */
async function noteFormat({ store, keys }: Engine, lead: Lead, signal: AbortSignal): Promise<void> {
  await store.transact(
    {
      comparisons: [
        { type: "created-at", key: keys.leader, revision: lead.token },
        { type: "created-at", key: keys.clusterFormat, revision: 0 },
      ],
      operations: [
        { type: "put", key: keys.clusterFormat, value: encodeRecord({ minimum: FORMAT_MINIMUM }) },
      ],
    },
    { signal },
  );
}
