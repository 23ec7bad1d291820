import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";

export interface EtcdStoreOptions {
  /** `http://host:port` or `https://host:port`, all of one cluster. */
  readonly servers: readonly string[];
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Picks the first server to be asked, so that many machines spread over the members. */
  readonly random?: Random | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** PEM text: what signs the servers' certificates (default: the authorities Node trusts), and the client's own certificate and key. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}
