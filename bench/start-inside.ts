// Inside a lab machine: node start-inside.ts COUNT. What bench/agent.bench.ts compares with: a script that writes units, links and starts them
// over D-Bus, one call after the other, and waits until all their jobs are over. Prints how many seconds that took.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { type Message, systemBus } from "dbus-native";

const DIRECTORY = "/run/alone";
const SYSTEMD = "org.freedesktop.systemd1";
const MANAGER = `${SYSTEMD}.Manager`;
const JOB_REMOVED = "JobRemoved";

const count = Number(process.argv[2]);
const bus = systemBus();
const results = new Map<string, string>();
const allEnded = new Promise<void>((resolve) => {
  bus.connection.on("message", ({ member, body = [] }: Message) => {
    if (member !== JOB_REMOVED) return;
    results.set(String(body[2]), String(body[3]));
    if (results.size === count) resolve();
  });
});

function call(member: string, signature?: string, body?: unknown[]): PromiseLike<unknown> {
  const target = { destination: SYSTEMD, path: "/org/freedesktop/systemd1", interface: MANAGER };
  return bus.invoke({ ...target, member, ...(signature ? { signature, body: body ?? [] } : {}) });
}

await bus.addMatch(`type='signal',interface='${MANAGER}',member='${JOB_REMOVED}'`);
await call("Subscribe");
const units = Array.from({ length: count }, (_, at) => `alone-${at}.service`);
const beganMs = performance.now();
mkdirSync(DIRECTORY, { recursive: true });
for (const unit of units) {
  const text = `[Unit]\nDescription=${unit}\n[Service]\nExecStart=/bin/sleep infinity\n`;
  writeFileSync(`${DIRECTORY}/${unit}`, text);
}
const files = units.map((unit) => `${DIRECTORY}/${unit}`);
await call("LinkUnitFiles", "asbb", [files, true, false]);
for (const unit of units) await call("StartUnit", "ss", [unit, "replace"]);
await allEnded;
const seconds = (performance.now() - beganMs) / 1_000;
assert.ok([...results.values()].every((result) => result === "done"));
process.stdout.write(`${seconds}\n`);
process.exit();
