import { openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { FaultStore, Link } from "../simulation/fault-store.ts";
import { freeGate } from "../simulation/process-gate.ts";
import { describeStoreContract } from "./store-contract.ts";

// The simulation's way to the registry is the registry, as long as no fault is asked for.
describeStoreContract("embedded, over the simulation's faultless link", {
  open: async () => {
    const clock = new VirtualClock();
    const inner = openEmbeddedStore({ clock, random: new SeededRandom(1) });
    const store = new FaultStore({
      inner,
      clock,
      link: new Link(),
      gate: freeGate(),
      life: new AbortController().signal,
      onTransaction: () => undefined,
    });
    return {
      store,
      other: inner,
      prefix: "/contract/",
      leaseTtlMs: 5_000,
      elapse: (durationMs) => clock.advance(durationMs),
      compact: async (revision) => inner.compact(revision),
      close: () => store.close(),
    };
  },
  supports: { connection: false },
});
