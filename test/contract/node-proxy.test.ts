import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { describeProxyContract } from "./proxy-contract.ts";

describeProxyContract("in this process", async () =>
  nodeProxy({ clock: systemClock, logger: silentLogger }),
);
