import { after, before } from "node:test";
import { openEtcdStore } from "../../src/registry/etcd-store.ts";
import { sleep } from "../../src/runtime/clock.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { CleanupList } from "../support/cleanup.ts";
import { type EtcdServer, startEtcd } from "../support/etcd-server.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { describeStoreContract } from "./store-contract.ts";

const file = new CleanupList();
let etcd: EtcdServer;
let tests = 0;

before(async () => {
  etcd = await startEtcd(file);
});
after(() => file.run());

describeStoreContract("etcd", {
  supports: { connection: true },
  open: async () => {
    const test = new CleanupList();
    const proxy = await TcpProxy.start(test, etcd.address);
    const store = await openEtcdStore({ servers: [proxy.url], clock: systemClock });
    const other = await openEtcdStore({ servers: [etcd.url], clock: systemClock });
    tests += 1;
    return {
      store,
      other,
      prefix: `/contract/${tests}/`,
      // etcd grants no less than 2 s.
      leaseTtlMs: 3_000,
      elapse: async (durationMs) => await sleep(systemClock, durationMs),
      compact: async (revision) => {
        await etcd.etcdctl("compact", String(revision));
      },
      connection: { cut: () => proxy.cut(), mend: async () => proxy.mend() },
      close: async () => {
        await store.close();
        await other.close();
        await test.run();
      },
    };
  },
});
