import * as v from "valibot";
import { assignmentRecord, manifestRecord } from "../registry/records.ts";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";
import type { Assignment, Assignments } from "./assignments.ts";
import { describeManifest, type Holdings } from "./holdings.ts";
import type { Host } from "./host.ts";
import type { Lanes } from "./lanes.ts";
import type { Systemd } from "./systemd.ts";

export interface LastKnownOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly host: Host;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  readonly assignments: Assignments;
  readonly lanes: Lanes;
  /** Whether there is no word from the registry. */
  readonly isAway: () => boolean;
  /** Ends with the daemon. */
  readonly life: AbortSignal;
}

const RECORD = "assignments";
/** Written once nothing has changed for so long, or some change is that old: each write costs an fsync, and a reading of all unit files. */
const QUIET_MS = 1_000;
const GATHER_MAX_MS = 5_000;
const BACKOFF = { firstMs: 1_000, maxMs: 60_000 };

const savedRecord = v.looseObject({
  bootId: v.string(),
  units: v.array(
    v.looseObject({ unit: v.string(), assignment: assignmentRecord, manifest: manifestRecord }),
  ),
});
type Saved = v.InferOutput<typeof savedRecord>;

/**
 * What the machine was to run, on disk, for a boot at which the registry is away. It says nothing of units with Fencing=strict, and nothing
 * any more once the machine has handed its units over: they run elsewhere then.
 */
export class LastKnown {
  readonly #options: LastKnownOptions;
  readonly #loop: Loop;
  #changedMs: { readonly first: number; last: number } | undefined;
  /** What was written last was made from this. */
  #saved: string | undefined;
  #isClosed = false;
  #isTried = false;

  constructor(options: LastKnownOptions) {
    this.#options = options;
    this.#loop = new Loop({
      ...options,
      name: "last-known",
      backoff: BACKOFF,
      pass: () => this.#pass(),
    });
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#loop.run(signal);
  }

  /** An assignment, or what is on disk for it, may have changed. */
  mark(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#changedMs !== undefined) {
      this.#changedMs.last = nowMs;
      return;
    }
    this.#changedMs = { first: nowMs, last: nowMs };
    this.#loop.wake();
  }

  /** The units are handed over. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#options.host.persistent.remove(RECORD).catch((error: unknown) => {
      if (!isFleetError(error)) throw error;
    });
  }

  /** Starts what the machine ran before this boot. Does so once, and nothing if the boot is the same: then it runs, or was stopped for a reason. */
  async start(): Promise<void> {
    const { host, systemd, holdings, lanes, logger, life } = this.#options;
    if (this.#isTried) return;
    this.#isTried = true;
    const saved = parseSaved(await host.persistent.read(RECORD));
    if (saved === undefined || saved.bootId === host.bootId) return;
    const units = saved.units.filter(({ unit }) => !holdings.has(unit));
    if (units.length === 0) return;
    logger.warn("starts-without-registry", { units: units.length });
    const results = await systemd.write(units.map(({ unit, manifest }) => ({ unit, manifest })));
    const written = units.filter((_, index) => results[index]?.type === "written");
    for (const held of written) holdings.setFile(held);
    if (results.some((result) => result.type === "written" && result.reloadNeeded)) {
      await systemd.reload();
    }
    for (const one of written) {
      if (one.assignment.target !== "launched") continue;
      const { unit } = one;
      lanes.run({ unit, task: "start", slot: true, signal: life, work: () => this.#startOne(one) });
    }
  }

  /** As the agent would, but for the registry's leave: when that is back it finds nothing to do. */
  async #startOne({ unit, assignment, manifest }: Saved["units"][number]): Promise<void> {
    const { systemd, holdings, isAway, life } = this.#options;
    if (!isAway() || holdings.start(unit) !== undefined) return;
    const record = {
      identity: assignment.identity,
      restarts: assignment.restarts,
      effective: describeManifest(manifest).effective,
      sinceBeforeMs: holdings.status(unit).sinceMs,
    };
    await holdings.setStart(unit, { ...record, outcome: "pending" });
    const outcome = await systemd.start(unit, life);
    await holdings.setStart(unit, { ...record, outcome });
    await holdings.refreshUnit(unit);
  }

  async #pass(): Promise<number | undefined> {
    const { clock } = this.#options;
    if (this.#changedMs === undefined || this.#isClosed) return undefined;
    const { first, last } = this.#changedMs;
    const waitMs = Math.min(last + QUIET_MS, first + GATHER_MAX_MS) - clock.monotonicMs();
    if (waitMs > 0) return waitMs;
    this.#changedMs = undefined;
    await this.#save();
    return undefined;
  }

  async #save(): Promise<void> {
    const { host, systemd, holdings, assignments, logger } = this.#options;
    const known = new Map<string, Assignment>();
    for (const unit of holdings.units()) {
      const assignment = assignments.get(unit);
      const file = holdings.file(unit);
      if (assignment === undefined || file === undefined || file.fencing !== undefined) continue;
      if (file.manifest === assignment.manifest) known.set(unit, assignment);
    }
    const sources = [...known]
      .map(([unit, { revision, manifest }]) => `${unit} ${revision} ${manifest}`)
      .join("\n");
    if (sources === this.#saved) return;
    const units: Saved["units"] = [];
    for (const { unit, manifest } of await systemd.held()) {
      const assignment = known.get(unit);
      if (assignment === undefined) continue;
      const dropIns = manifest.dropIns.map((dropIn) => ({ ...dropIn }));
      units.push({ unit, assignment, manifest: { content: manifest.content, dropIns } });
    }
    const saved: Saved = { bootId: host.bootId, units };
    try {
      if (!this.#isClosed) await host.persistent.write(RECORD, JSON.stringify(saved));
      this.#saved = sources;
    } catch (error) {
      logger.warn("last-known-not-saved", { error: errorMessage(error) });
      this.mark();
      throw error;
    }
  }
}

/** A record that cannot be read counts as none. */
function parseSaved(text: string | undefined): Saved | undefined {
  if (text === undefined) return undefined;
  try {
    const parsed = v.safeParse(savedRecord, JSON.parse(text));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}
