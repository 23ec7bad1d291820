export interface BackoffLimits {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * How long to wait after `failures` failures in a row (1 or more): doubles up to the limit.
 * `fraction` (0 to 1, from the Random port) takes off up to half, so that machines that failed together do not return together.
 */
export function backoffMs(failures: number, limits: BackoffLimits, fraction = 0): number {
  const fullMs = Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(failures - 1, 30));
  return fullMs * (1 - fraction / 2);
}
