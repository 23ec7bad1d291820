import type { BackendStats, LinkStats } from "./proxy.ts";

/** Numbers of one link from two threads. The first one's addresses and order of backends count. */
export function addedStats(a: LinkStats, b: LinkStats | undefined): LinkStats {
  if (b === undefined) return a;
  const others = new Map(b.backends.map((backend) => [backend.id, backend]));
  const both = a.backends.map((backend) => {
    const other = others.get(backend.id);
    others.delete(backend.id);
    return other === undefined ? backend : addedBackends(backend, other);
  });
  return {
    ...a,
    open: added(a.open, b.open),
    held: added(a.held, b.held),
    accepted: a.accepted + b.accepted,
    refused: {
      "too-many-connections": a.refused["too-many-connections"] + b.refused["too-many-connections"],
      "too-many-held": a.refused["too-many-held"] + b.refused["too-many-held"],
      "no-backend": a.refused["no-backend"] + b.refused["no-backend"],
      "connect-failed": a.refused["connect-failed"] + b.refused["connect-failed"],
    },
    backends: [...both, ...others.values()],
  };
}

function addedBackends(a: BackendStats, b: BackendStats): BackendStats {
  return {
    id: a.id,
    open: added(a.open, b.open),
    total: a.total + b.total,
    connectFailures: a.connectFailures + b.connectFailures,
    errors: a.errors + b.errors,
    bytesToBackend: added(a.bytesToBackend, b.bytesToBackend),
    bytesToClient: added(a.bytesToClient, b.bytesToClient),
    ejectedMs: Math.max(a.ejectedMs, b.ejectedMs),
    connect: {
      counts: a.connect.counts.map((count, index) => count + (b.connect.counts[index] ?? 0)),
      count: a.connect.count + b.connect.count,
      sumMs: a.connect.sumMs + b.connect.sumMs,
    },
  };
}

function added(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}
