import type { Notice } from "../api/protocol.ts";
import { systemClock } from "../runtime/system-clock.ts";
import { FleetClient } from "./fleet-client.ts";
import { ApiError, HttpClient } from "./http-client.ts";

/** What `import ... from "fleet-ts"` gives: the client that `fleetctl-ts` is made of. */
export interface ConnectOptions {
  /** `unix:///run/fleet.sock` (default), `https://HOST:PORT`, `http://HOST:PORT`; several, comma separated: the first that answers. */
  readonly endpoint?: string;
  /** Paths of PEM files, for https. */
  readonly tls?: {
    readonly caFile?: string;
    readonly certFile?: string;
    readonly keyFile?: string;
  };
  /** Of a call; those that take longer by nature have more. Default 3 s. */
  readonly deadlineMs?: number;
  /** What operators should know: no engine runs, the machine is detached, and the like. */
  readonly onNotices?: (notices: readonly Notice[]) => void;
}

/** Nothing is opened before the first call, and nothing has to be closed. */
export function connectFleet(options: ConnectOptions = {}): FleetClient {
  const { endpoint = "unix:///run/fleet.sock", deadlineMs = 3_000, tls = {} } = options;
  const http = new HttpClient({ clock: systemClock, endpoint, deadlineMs, tls });
  return new FleetClient(http, options.onNotices ?? (() => undefined));
}

export { ApiError, FleetClient };
