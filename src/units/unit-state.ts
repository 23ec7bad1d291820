/** What an operator wants of a unit, for the whole cluster. */
export type DesiredState = "inactive" | "loaded" | "launched";

export const DESIRED_STATES: readonly DesiredState[] = ["inactive", "loaded", "launched"];

export function isDesiredState(text: string): text is DesiredState {
  return (DESIRED_STATES as readonly string[]).includes(text);
}

/** What systemd says of a unit, in its own words (systemd.unit(5), org.freedesktop.systemd1(5)). */
export interface SystemdState {
  /** `loaded`, `not-found`, `bad-setting`, `error`, `masked`, ... */
  readonly load: string;
  /** `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating` */
  readonly active: string;
  /** Depends on the type: `running`, `exited`, `dead`, `waiting`, `listening`, ... */
  readonly sub: string;
}

/** How the last start that fleet-ts asked for ended: systemd's job result, `pending` while the job runs. */
export type StartOutcome =
  | "pending"
  | "done"
  | "failed"
  | "dependency"
  | "canceled"
  | "timeout"
  | "skipped";
