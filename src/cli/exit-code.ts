/** Exit statuses of fleetctl-ts (docs/client.md). */
export const EXIT_DONE = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_NOT_FOUND = 3;
export const EXIT_TIMED_OUT = 4;

const GRAVITY = [EXIT_DONE, EXIT_NOT_FOUND, EXIT_TIMED_OUT, EXIT_FAILED, EXIT_USAGE];

/** Of several units: a failure counts more than a time-out, that more than a name that does not exist. */
export function worstExit(codes: readonly number[]): number {
  return codes.reduce((worst, code) => (gravity(code) > gravity(worst) ? code : worst), EXIT_DONE);
}

/** Other programs' statuses (systemctl, ssh) count as failures. */
function gravity(code: number): number {
  const index = GRAVITY.indexOf(code);
  return index === -1 ? GRAVITY.indexOf(EXIT_FAILED) : index;
}
