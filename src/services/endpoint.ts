/** Where a service can be reached: one instance of it. Key and value of `services/<service>/<instance>` in one. */
export interface Endpoint {
  readonly service: string;
  readonly instance: string;
  /** An IP address; of an endpoint that operators registered also a name. */
  readonly host: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly health: Health;
  /** Why it is failing; empty otherwise. */
  readonly detail: string;
  /** Share among endpoints of the same priority, 0 to 65535; 0 gets nothing new. */
  readonly weight: number;
  /** As in SRV records: the lowest number that has a usable endpoint gets everything. */
  readonly priority: number;
  readonly tags: Readonly<Record<string, string>>;
  /** Unit behind it, as far as known. */
  readonly unit?: string;
  /** Whose daemon wrote it, on its machine's lease. Without: operators registered it, and only they take it away. */
  readonly machine?: string;
  /** Since when `health` is as it is: Unix milliseconds of the writer's wall clock. */
  readonly sinceMs: number;
}

export type Protocol = "tcp" | "udp";

/** What its checks say; `unknown`: nobody checks. `draining`: it is about to go, and takes nothing new. */
export type Health = "unknown" | "passing" | "failing" | "draining";

export const HEALTHS: readonly Health[] = ["unknown", "passing", "failing", "draining"];

/** Whether anything new should be sent there. */
export function isUsable(endpoint: Pick<Endpoint, "health" | "weight">): boolean {
  return (endpoint.health === "passing" || endpoint.health === "unknown") && endpoint.weight > 0;
}

/** One program that uses services through its ambassador. Key and value of `links/<machine>/<consumer>` in one. */
export interface Link {
  readonly machine: string;
  /** The unit the ambassador works for, or its own. */
  readonly consumer: string;
  readonly services: readonly LinkedService[];
}

export interface LinkedService {
  readonly service: string;
  /** Where the consumer finds it: `127.0.0.1:5432/tcp`, `/run/db.sock`; empty while there is no such place yet. */
  readonly local: string;
}

/** `10.0.0.1:80`, `[fe80::1]:80`. */
export function hostPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** In order of service, then instance. */
export function compareEndpoints(
  a: Pick<Endpoint, "service" | "instance">,
  b: Pick<Endpoint, "service" | "instance">,
): number {
  return compareText(a.service, b.service) || compareText(a.instance, b.instance);
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
