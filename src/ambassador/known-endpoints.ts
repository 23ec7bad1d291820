import { type Endpoint, isUsable } from "../services/endpoint.ts";
import type { Backend } from "./backend.ts";

/** An endpoint that was told of, and whether it still is. */
export interface KnownEndpoint {
  readonly endpoint: Endpoint;
  /** Since when nobody tells of it any more (monotonic milliseconds), although it never said that it would go. Used after all others. */
  readonly suspectSinceMs?: number;
}

/** Suspects stay so long beside endpoints that can be used; without any, until a connection fails or somebody is told of. */
const SUSPECT_MAX_MS = 60_000;
const SUSPECTS_MAX = 64;

/**
 * What is known after `told` was said to be all there is. What drained, was failing or was taken away by hand has gone for good; whatever else
 * vanishes may be a registry's mistake, or a machine's that cannot reach it.
 */
export function learn(
  known: readonly KnownEndpoint[],
  told: readonly Endpoint[],
  nowMs: number,
): readonly KnownEndpoint[] {
  const instances = new Set(told.map(({ instance }) => instance));
  const addresses = new Set(told.map(addressOf));
  const suspects = known
    .filter(({ endpoint }) => !instances.has(endpoint.instance))
    .filter(({ endpoint }) => !addresses.has(addressOf(endpoint)))
    .filter(({ endpoint }) => isUsable(endpoint) && endpoint.machine !== undefined)
    .map(({ endpoint, suspectSinceMs = nowMs }) => ({ endpoint, suspectSinceMs }));
  return forgetSuspects(
    [...told.map((endpoint) => ({ endpoint })), ...suspects.slice(-SUSPECTS_MAX)],
    nowMs,
  );
}

/** Without the suspects that had their time. */
export function forgetSuspects(
  known: readonly KnownEndpoint[],
  nowMs: number,
): readonly KnownEndpoint[] {
  const hasBetter = known.some((one) => one.suspectSinceMs === undefined && isUsable(one.endpoint));
  if (!hasBetter) return known;
  return known.filter(({ suspectSinceMs = nowMs }) => nowMs - suspectSinceMs <= SUSPECT_MAX_MS);
}

/** In order of instance. */
export function backendsOf(
  known: readonly KnownEndpoint[],
  machine: string | undefined,
): readonly Backend[] {
  return known.map(({ endpoint, suspectSinceMs }) => {
    const { instance, host, port, health, weight, priority } = endpoint;
    return {
      ...{ id: instance, host, port, weight, priority },
      health: health === "draining" ? "unknown" : health,
      sameMachine: machine !== undefined && endpoint.machine === machine,
      presence:
        health === "draining" ? "draining" : suspectSinceMs === undefined ? "present" : "suspect",
    };
  });
}

function addressOf({ host, port }: Endpoint): string {
  return `${host} ${port}`;
}
