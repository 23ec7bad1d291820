import assert from "node:assert/strict";
import { test } from "node:test";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import type { Reservation } from "../../src/units/requirements.ts";
import { parseReservation } from "../../src/units/reservation.ts";
import { scanUnitFile } from "../../src/units/unit-file.ts";

function reservation(text: string, unit = "a.service", ...dropIns: readonly string[]) {
  const files = [text, ...dropIns].map((content) => scanUnitFile(content, unit).unitFile);
  return parseReservation(unit, files);
}

const NOTHING: Reservation = { memory: undefined, cores: undefined, tasks: undefined };

function bytes(amount: number): Reservation {
  return { ...NOTHING, memory: { type: "absolute", amount } };
}

function memoryShare(ratio: number): Reservation {
  return { ...NOTHING, memory: { type: "share", ratio } };
}

const MIB = 1024 * 1024;

/** Which values systemd takes: systemd-agreement.test.ts. The amounts are those of systemd.resource-control(5). */
const TABLE: readonly (readonly [lines: string, Reservation | undefined])[] = [
  ["", undefined],
  ["MemoryMax=512M", bytes(512 * MIB)],
  ["MemoryMax=1048576", bytes(MIB)],
  ["MemoryMax=64K", bytes(65_536)],
  ["MemoryMax=1.5G", bytes(1536 * MIB)],
  ["MemoryMax=1G 512M", bytes(1536 * MIB)],
  ["MemoryMax=1 G", bytes(1024 * MIB)],
  ["MemoryMax=2T", bytes(2 * 1024 * 1024 * MIB)],
  ["MemoryMax=50%", memoryShare(0.5)],
  ["MemoryMax=12.5%", memoryShare(0.125)],
  ["MemoryMax=5‰", memoryShare(0.005)],
  ["MemoryMax=7‱", memoryShare(0.0007)],
  ["MemoryMax=infinity", undefined],
  ["MemoryMax=lots", undefined],
  ["MemoryMax=0", undefined],
  ["MemoryMax=150%", undefined],
  ["MemoryMax=1KB", undefined],
  ["MemoryHigh=256M", bytes(256 * MIB)],
  ["MemoryMin=128M", bytes(128 * MIB)],
  ["MemoryMin=128M\nMemoryHigh=256M\nMemoryMax=512M", bytes(512 * MIB)],
  ["MemoryMin=128M\nMemoryHigh=256M\nMemoryMax=infinity", bytes(256 * MIB)],
  ["MemoryMin=128M\nMemoryHigh=256M\nMemoryHigh=", bytes(128 * MIB)],
  ["MemoryMin=128M\nMemoryMin=0", undefined],
  ["MemoryMax=1G\nMemoryMax=2G", bytes(2048 * MIB)],
  ["MemoryMax=1G\nMemoryMax=nonsense", bytes(1024 * MIB)],
  ["MemoryMax=1G\nMemoryMax=", undefined],
  ["CPUQuota=150%", { ...NOTHING, cores: 1.5 }],
  ["CPUQuota=0.5%", { ...NOTHING, cores: 0.005 }],
  ["CPUQuota=20", undefined],
  ["CPUQuota=50%\nCPUQuota=infinity", { ...NOTHING, cores: 0.5 }],
  ["TasksMax=100", { ...NOTHING, tasks: { type: "absolute", amount: 100 } }],
  ["TasksMax=0x10", { ...NOTHING, tasks: { type: "absolute", amount: 16 } }],
  ["TasksMax=10%", { ...NOTHING, tasks: { type: "share", ratio: 0.1 } }],
  ["TasksMax=100\nTasksMax=infinity", undefined],
  [
    "TasksMax=5\nMemoryMax=1M\nCPUQuota=10%",
    {
      memory: { type: "absolute", amount: MIB },
      cores: 0.1,
      tasks: { type: "absolute", amount: 5 },
    },
  ],
];

for (const [lines, expected] of TABLE) {
  test(`parseReservation() reads ${JSON.stringify(lines)}`, () => {
    assert.deepEqual(reservation(`[Service]\n${lines}\n`), expected);
  });
}

test("parseReservation() reads the section of the unit's own type", () => {
  for (const [unit, section] of [
    ["a.service", "Service"],
    ["a.socket", "Socket"],
    ["a.mount", "Mount"],
    ["a.swap", "Swap"],
    ["a.slice", "Slice"],
    ["a@1.service", "Service"],
  ] as const) {
    assert.deepEqual(reservation(`[${section}]\nMemoryMax=1M\n`, unit), bytes(MIB), unit);
    assert.equal(reservation("[Unit]\nMemoryMax=1M\n", unit), undefined);
  }
  for (const unit of ["a.timer", "a.path", "a.target", "a.automount"]) {
    assert.equal(reservation("[Service]\nMemoryMax=1M\n", unit), undefined, unit);
  }
});

test("parseReservation() lets drop-ins change and take back", () => {
  const main = "[Service]\nMemoryMax=1M\nTasksMax=4\n";
  assert.deepEqual(
    reservation(main, "a.service", "[Service]\nMemoryMax=2M\n", "[Service]\nTasksMax=\n"),
    bytes(2 * MIB),
  );
});

test("readRequirements() finds limits in units without [X-Fleet], and in drop-ins", () => {
  const content = "[Service]\nMemoryMax=1M\n";
  const read = (text: string, ...dropIns: readonly string[]) =>
    readRequirements("a.service", {
      content: text,
      dropIns: dropIns.map((dropIn, index) => ({ name: `${index}.conf`, content: dropIn })),
    }).reservation;
  assert.deepEqual(read(content), bytes(MIB));
  assert.deepEqual(read("[Service]\nExecStart=/bin/a\n", content), bytes(MIB));
  assert.equal(read("[Service]\nExecStart=/bin/a\n"), undefined);
});
