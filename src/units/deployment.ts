import type { DesiredState } from "./unit-state.ts";

/** What a unit file in a directory of them says of its own deployment ([X-Fleet]). Commands that name a desired state pass it over. */
export interface Deployment {
  readonly state: DesiredState;
  /** Of a template: which instances there are, without `template@` and the type. Undefined: none by itself. */
  readonly instances: readonly string[] | undefined;
  /** How long an instance has to be active before the next is updated. */
  readonly minReadyMs: number;
  /** How many instances of the template may be away for an update at once. */
  readonly maxUnavailable: number;
  /** What a running unit does for a new file. */
  readonly onUpdate: UpdateMode;
}

/** `replace`, `restart`: it is stopped and started with the new file. `reload`: it reloads. `none`: nothing until its next start. */
export type UpdateMode = "replace" | "restart" | "reload" | "none";

export const UPDATE_MODES: readonly UpdateMode[] = ["replace", "restart", "reload", "none"];

export const DEFAULT_DEPLOYMENT: Deployment = {
  state: "launched",
  instances: undefined,
  minReadyMs: 0,
  maxUnavailable: 1,
  onUpdate: "replace",
};
