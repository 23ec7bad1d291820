import assert from "node:assert/strict";
import { openDbusSystemd } from "../../src/agent/dbus-systemd.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";

/** Puts a unit of every type on a lab machine, starts all of them, and goes. */
const UNITS: Readonly<Record<string, string>> = {
  "every.service":
    "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/echo unit stops now\nExecStop=/bin/sleep 0.3\n",
  "every-early.service":
    "[Unit]\nDefaultDependencies=no\nBefore=basic.target\n[Service]\nExecStart=/bin/sleep infinity\n",
  "every-network.service":
    "[Unit]\nBefore=network.target\n[Service]\nExecStart=/bin/sleep infinity\n",
  "every-socket.socket": "[Socket]\nListenStream=/run/every.sock\n",
  "every-socket.service": "[Service]\nExecStart=/bin/sleep infinity\nSlice=every.slice\n",
  "every.timer": "[Timer]\nOnActiveSec=1h\n",
  "every.path": "[Path]\nPathExists=/nowhere\n",
  "every.target": "[Unit]\nWants=every.service\n",
  "every.slice": "[Slice]\n",
  "run-every.mount": "[Mount]\nWhat=every\nType=tmpfs\nWhere=/run/every\n",
};

const systemd = await openDbusSystemd({ clock: systemClock, logger: silentLogger });
const units = Object.entries(UNITS).map(([unit, content]) => ({
  unit,
  manifest: { content, dropIns: [] },
}));
const results = await systemd.write(units);
for (const result of results) assert.deepEqual(result, { type: "written", reloadNeeded: false });
for (const { unit } of units) assert.equal(await systemd.start(unit), "done", unit);
for (const status of await systemd.status(units.map(({ unit }) => unit))) {
  assert.equal(status.active, "active", status.unit);
}
await systemd.close();
