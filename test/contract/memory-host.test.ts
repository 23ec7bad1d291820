import { MemoryHost } from "../../src/agent/memory-host.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { describeHostContract } from "./host-contract.ts";

describeHostContract("memory", async () => {
  const random = new SeededRandom(1);
  const host = new MemoryHost({ machineId: random.id(), random });
  return {
    host,
    restartDaemon: async () => host,
    reboot: async () => {
      host.reboot();
      return host;
    },
    breakDisk: async () => {
      for (const folder of [host.volatile, host.persistent]) folder.failingWrites = 1;
      return async () => {
        for (const folder of [host.volatile, host.persistent]) folder.failingWrites = 0;
      };
    },
    close: async () => {},
  };
});
