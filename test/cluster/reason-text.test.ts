import assert from "node:assert/strict";
import { test } from "node:test";
import type { Reason } from "../../src/cluster/reason.ts";
import { blockedText, reasonText } from "../../src/cluster/reason-text.ts";

const TEXTS: { readonly [T in Reason["type"]]: readonly [Extract<Reason, { type: T }>, string] } = {
  "machine-id-differs": [
    { type: "machine-id-differs", required: "abc" },
    "MachineID=abc names another machine",
  ],
  "machine-id-excluded": [
    { type: "machine-id-excluded", excluded: "abc" },
    "NotMachineID=abc keeps it away",
  ],
  "too-many-instances": [
    { type: "too-many-instances", template: "t@.service", max: 2, there: 2 },
    "MaxPerMachine=2: 2 instances of t@.service there",
  ],
  "no-room": [
    { type: "no-room", resource: "memory", wanted: 1.5 * 2 ** 30, free: 512 * 2 ** 20 },
    "no room: wants 1.5G of memory, 512M of memory free",
  ],
  "metadata-differs": [
    { type: "metadata-differs", requirement: "disk=ssd" },
    "MachineMetadata=disk=ssd does not hold",
  ],
  "peer-elsewhere": [
    { type: "peer-elsewhere", peer: "p.service" },
    "MachineOf=p.service is not there",
  ],
  conflict: [{ type: "conflict", unit: "c.service" }, "conflicts with c.service"],
  replaced: [{ type: "replaced", unit: "r.service" }, "r.service replaces it there"],
  "name-taken": [{ type: "name-taken" }, "the machine has a unit of this name of its own"],
  cordoned: [{ type: "cordoned" }, "cordoned: takes no new units"],
  draining: [{ type: "draining" }, "draining: hands its units over"],
  leaving: [{ type: "leaving" }, "leaving: its daemon is being stopped"],
  away: [{ type: "away" }, "away"],
  "group-member": [
    { type: "group-member", unit: "g.service", because: { type: "cordoned" } },
    "g.service, tied to it by MachineOf=, cannot be there: cordoned: takes no new units",
  ],
  "failed-there": [{ type: "failed-there" }, "it has failed there of late"],
  "fencing-too-slow": [
    { type: "fencing-too-slow", stopMs: 8_000, fitsMs: 6_500 },
    "its stop may take 8 s, and Fencing=strict leaves 6.5 s of the machine's lease for it",
  ],
  failed: [
    { type: "failed", machineId: "m1" },
    "it failed on <m1> and stays there: no other machine takes it",
  ],
  "move-limit": [
    { type: "move-limit", machineId: "m1", limit: 3 },
    "it failed on <m1>, after 3 moves for failures: start it again when the cause is mended",
  ],
  rolling: [{ type: "rolling", done: 3, of: 10 }, "rolling: 3 of 10 done"],
  "no-machines": [{ type: "no-machines" }, "no machine is present"],
  "peer-not-wanted": [
    { type: "peer-not-wanted", peer: "p.service" },
    "MachineOf=p.service is not loaded or started",
  ],
  stopping: [{ type: "stopping", machineId: "m1" }, "it has not finished stopping on <m1>"],
  "waiting-for-room": [
    { type: "waiting-for-room", machineId: "m1", unit: "o.service" },
    "o.service has not left <m1> yet",
  ],
  "machine-lost": [
    { type: "machine-lost", machineId: "m1" },
    "its machine <m1> is lost and no other can take it",
  ],
  "loss-held": [
    { type: "loss-held", machineId: "m1", why: "mass-loss" },
    "its machine <m1> is away together with most others, so the engine moves nothing yet",
  ],
  "drain-stuck": [
    { type: "drain-stuck", machineId: "m1" },
    "no other machine takes it than <m1>, which is drained",
  ],
  "drain-pinned": [
    { type: "drain-pinned", machineId: "m1" },
    "MachineID= keeps it on <m1>, which is drained",
  ],
  "manifest-missing": [
    { type: "manifest-missing" },
    "its unit file is missing in the registry: submit it again with --replace",
  ],
  "manifest-invalid": [
    { type: "manifest-invalid", detail: "line 3: no section" },
    "its unit file is invalid: line 3: no section",
  ],
};

for (const [reason, text] of Object.values(TEXTS)) {
  test(`reasonText() has words for ${reason.type}`, () => {
    assert.equal(
      reasonText(reason, (machineId) => `<${machineId}>`),
      text,
    );
  });
}

test("reasonText() tells the fresh engine's patience from a mass loss", () => {
  assert.match(
    reasonText({ type: "loss-held", machineId: "m1", why: "boot-grace" }),
    /not run long enough/,
  );
});

test("reasonText() shows the type of a reason that only a newer version knows", () => {
  const unknown: Reason = JSON.parse('{"type":"no-capacity"}');
  assert.equal(reasonText(unknown), "no-capacity");
});

test("blockedText() counts machines and names the examples", () => {
  const reasons = [
    {
      reason: { type: "metadata-differs", requirement: "disk=ssd" },
      machines: 5,
      examples: ["a", "b", "c"],
    },
    { reason: { type: "cordoned" }, machines: 1, examples: ["d"] },
    { reason: { type: "peer-not-wanted", peer: "p.service" }, machines: 0, examples: [] },
  ] as const;
  assert.equal(
    blockedText(reasons),
    "MachineMetadata=disk=ssd does not hold (5 machines: a, b, c, ...); cordoned: takes no new units (1 machine: d); " +
      "MachineOf=p.service is not loaded or started",
  );
});

test("blockedText() does not name one unit for conflicts with several", () => {
  const conflict = { type: "conflict", unit: "a.service" } as const;
  const view = { reason: conflict, machines: 2, examples: ["m1", "m2"] };
  assert.equal(blockedText([view]), "conflicts with a.service (2 machines: m1, m2)");
  assert.equal(
    blockedText([{ ...view, varied: true }]),
    "conflicts with a.service and the like (2 machines: m1, m2)",
  );
});
