import type { EtcdStoreOptions } from "./etcd-options.ts";
import type { Store } from "./store.ts";

/**
 * The registry in etcd v3 (3.4 and later). Opening sends nothing: while etcd is away, calls fail with `store-unavailable`.
 * The packages behind it load here, 0.2 s, so that a daemon with an embedded registry and the client do without.
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const { EtcdStore } = await import("./etcd-calls.ts");
  return new EtcdStore(options);
}
