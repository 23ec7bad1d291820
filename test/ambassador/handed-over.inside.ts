// Started by systemd-socket-activate: serves what it was handed, with the backend at the port it is told.
import { handedOverSockets } from "../../src/ambassador/handed-over.ts";
import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { backendAt } from "../support/proxy-ends.ts";

const plane = nodeProxy({ clock: systemClock, logger: silentLogger });
for (const { fd, name, protocol } of handedOverSockets(process.env, process.pid)) {
  const link = await plane.open({ name, endpoints: [{ type: "fd", fd, protocol }] });
  await link.setBackends([backendAt("a", Number(process.argv[2]))]);
}
