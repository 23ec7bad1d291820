import type { BlockedReasonView } from "./views.ts";

/** What would become of a unit. */
export interface Outlook {
  readonly unit: string;
  /** Machines it is placed on (global: assigned to), sorted. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Type of the reason why it leaves a machine. */
  readonly why?: string;
  readonly blocked: readonly BlockedReasonView[];
}
