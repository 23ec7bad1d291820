import { findHandles } from "../../src/ambassador/node-handles.ts";
import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import { nodeThreadsProxy } from "../../src/ambassador/node-threads.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { startPlaneThread } from "../support/plane-thread.ts";
import { describeProxyContract } from "./proxy-contract.ts";

const parts = { clock: systemClock, logger: silentLogger };

describeProxyContract("in this process, by sockets", async () => nodeProxy(parts));

describeProxyContract("in this process, by handles", async () =>
  nodeProxy({ ...parts, handles: findHandles(process.version) }),
);

describeProxyContract("in two threads of this process", async () =>
  nodeThreadsProxy({ ...parts, threads: 2, startThread: startPlaneThread }),
);
