import { describe, it } from "node:test";
import { checkEvents, checkStatus } from "./systemd-contract-events.ts";
import { checkFence } from "./systemd-contract-fence.ts";
import { checkForeign, checkHeld, checkRemove, checkWrite } from "./systemd-contract-files.ts";
import type { Check, SystemdFixture } from "./systemd-contract-fixture.ts";
import { checkActions, checkBus, checkStart, checkStop } from "./systemd-contract-jobs.ts";

/** A test that has not ended by then waits for something that never comes. */
const TEST_TIMEOUT_MS = 120_000;

/**
 * What every adapter of the Systemd port must do. Time passes through the fixture, so the simulated systemd is tested on virtual time; nothing is
 * judged by speed.
 */
export function describeSystemdContract(name: string, open: () => Promise<SystemdFixture>): void {
  const check: Check = (title, body) => {
    it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
      const fixture = await open();
      try {
        await body(fixture);
      } finally {
        await fixture.close();
      }
    });
  };
  describe(`systemd contract: ${name}`, () => {
    describe("held()", () => checkHeld(check));
    describe("write()", () => checkWrite(check));
    describe("units of the host", () => checkForeign(check));
    describe("remove()", () => checkRemove(check));
    describe("start()", () => checkStart(check));
    describe("stop()", () => checkStop(check));
    describe("reloadUnit(), kill()", () => checkActions(check));
    describe("fence()", () => checkFence(check));
    describe("status()", () => checkStatus(check));
    describe("events()", () => checkEvents(check));
    describe("the bus", () => checkBus(check));
  });
}
