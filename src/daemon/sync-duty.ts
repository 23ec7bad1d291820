import { hostname } from "node:os";
import type { Registry } from "../registry/registry.ts";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { SignatureRule } from "../sync/git-signature.ts";
import { Notifier } from "../sync/notify.ts";
import { openTree } from "../sync/open-tree.ts";
import { followSync, type SyncEvent } from "../sync/sync.ts";
import { planSummary, stepText, versionText, waitingTexts } from "../sync/sync-text.ts";
import { RegistrySyncCluster } from "./registry-sync-cluster.ts";

export interface SyncSettings {
  /** URL, and `#BRANCH` or `#BRANCH:PATH`. */
  readonly location: string;
  readonly name: string;
  readonly prune: boolean;
  readonly signatures: SignatureRule | undefined;
  readonly pollMs: number;
  /** Told of every outcome. */
  readonly notify: string | undefined;
}

const PRUNE_LIMIT = 0.5;
const READY_MS = 300_000;

/** Follows `sync_source` while this daemon's engine has the lead, so that one daemon of the cluster does. */
export class SyncDuty {
  readonly #options: {
    readonly settings: SyncSettings;
    readonly registry: Registry;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly cacheDirectory: string;
  };
  #running: { readonly abort: () => void; readonly ended: Promise<void> } | undefined;

  constructor(options: {
    readonly settings: SyncSettings;
    readonly registry: Registry;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly cacheDirectory: string;
  }) {
    this.#options = options;
  }

  lead(leads: boolean): void {
    if (!leads) {
      this.#running?.abort();
      return;
    }
    const before = this.#running?.ended;
    const controller = new AbortController();
    // The one before may be in the middle of a call: two at once would roll the same units.
    const ended = (before ?? Promise.resolve()).then(() => this.#follow(controller.signal));
    this.#running = { abort: () => controller.abort(), ended };
  }

  async stop(): Promise<void> {
    this.#running?.abort();
    await this.#running?.ended;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { settings, registry, clock, logger, cacheDirectory } = this.#options;
    if (signal.aborted) return;
    try {
      const { location, name, prune, signatures, pollMs, notify } = settings;
      const onFailure = (why: string) => logger.warn("sync-notify-failed", { why });
      const notifier =
        notify === undefined
          ? undefined
          : new Notifier({ command: notify, source: name, clock, onFailure });
      const tree = await openTree({
        clock,
        location,
        dirty: false,
        signatures,
        cacheDirectory,
        pollMs,
      });
      await followSync(
        {
          tree,
          cluster: new RegistrySyncCluster({ registry, clock }),
          clock,
          source: name,
          runner: hostname(),
          adopt: false,
          prune,
          pruneLimit: PRUNE_LIMIT,
          heal: true,
          readyMs: READY_MS,
          onEvent: (event) => this.#report(event),
          tell: (outcome) => notifier?.tell(outcome) ?? Promise.resolve(),
        },
        signal,
      );
    } catch (error) {
      // A sync that cannot go on is no reason for the units that run to be without their daemon.
      if (!signal.aborted) logger.error("sync-ended", { error: errorMessage(error) });
    }
  }

  #report(event: SyncEvent): void {
    const { logger, settings } = this.#options;
    const source = settings.name;
    switch (event.type) {
      case "plan": {
        const version = versionText(event.version);
        logger.info("sync-plan", { source, version, plan: planSummary(event.plan) });
        for (const what of waitingTexts(event.outlooks))
          logger.warn("sync-would-wait", { source, what });
        break;
      }
      case "step":
        if (event.event.type === "failed" || event.event.type === "waits") {
          const { type, unit, why } = event.event;
          logger.warn(`sync-${type}`, { source, unit, why });
        } else if (event.event.type === "done") {
          logger.info("sync-step", { source, step: stepText(event.event.step) });
        }
        break;
      case "outcome":
        if (event.outcome.type === "rejected" && !event.outcome.known) {
          const version = versionText(event.outcome.version);
          logger.warn("sync-rejected", { source, version, problems: event.outcome.problems });
        }
        break;
      case "away":
        logger.warn("sync-away", { source, why: event.message });
        break;
    }
  }
}
