import assert from "node:assert/strict";
import type { Lab } from "../test/support/lab.ts";

/** A unit that runs until it is stopped and costs nothing meanwhile. */
export const SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n";

/** Writes files PREFIX-0001.service, ... and gives their names. */
export async function writeUnits(
  lab: Lab,
  units: {
    readonly prefix: string;
    readonly count: number;
    readonly text: string | ((name: string) => string);
  },
): Promise<readonly string[]> {
  const names = Array.from(
    { length: units.count },
    (_, index) => `${units.prefix}-${String(index + 1).padStart(4, "0")}.service`,
  );
  const { text } = units;
  for (const name of names) await lab.unitFile(name, typeof text === "string" ? text : text(name));
  return names;
}

/** A client's command that has to succeed. */
export async function fleetctl(lab: Lab, ...args: readonly string[]): Promise<string> {
  const result = await lab.fleetctl(...args);
  assert.equal(result.code, 0, `fleetctl-ts ${args[0]}: ${result.stderr || result.stdout}`);
  return result.stdout;
}

/** Destroys units and waits until they are gone from the machines too. */
export async function destroyAll(lab: Lab, names: readonly string[]): Promise<void> {
  await fleetctl(lab, "destroy", ...names);
  await untilNoneLeft(lab);
}

export async function untilNoneLeft(lab: Lab): Promise<void> {
  await lab.waitFor({
    what: "list-units shows none",
    deadlineMs: 120_000,
    everyMs: 300,
    look: () => fleetctl(lab, "list-units", "--no-legend"),
    until: (text) => text.trim() === "",
  });
}
