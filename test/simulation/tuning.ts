/** Times of the simulated cluster: those of fleet.conf in proportion, shorter so that runs are. */
export const TUNING = {
  ttlMs: 9_000,
  handbackMs: 25_000,
  startParallelism: 2,
  engine: { bootGraceMs: 15_000, lossWindowMs: 9_000, massHoldMs: 15_000 },
  /** Within this time of the end of all faults everything is as wanted. */
  convergeMs: 120_000,
} as const;
