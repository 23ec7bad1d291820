import assert from "node:assert/strict";
import { test } from "node:test";
import {
  chosenColumns,
  machineColumns,
  makeLegend,
  UNIT_FIELDS,
  UNIT_FILE_FIELDS,
  unitColumns,
  unitFileColumns,
  unitRows,
} from "../../src/cli/columns.ts";
import type { Column } from "../../src/cli/table.ts";
import { M1, M2, machine, state, unit } from "./views.ts";

function cells<Row>(columns: readonly Column<Row>[], row: Row): readonly string[] {
  return columns.map(({ value }) => value(row));
}

const SHORT = { full: false, legend: makeLegend([machine()]) };
const FULL = { full: true, legend: makeLegend([machine()], true) };

test("a machine's legend is its short id and address, or the whole id with --full", () => {
  assert.equal(SHORT.legend(M1), "1111aaaa.../10.0.0.1");
  assert.equal(FULL.legend(M1), `${M1}/10.0.0.1`);
});

test("a machine's legend has no address when the machine is away or has none", () => {
  assert.equal(makeLegend([machine({ present: false })])(M1), "1111aaaa...");
  assert.equal(makeLegend([machine({ address: "" })])(M1), "1111aaaa...");
  assert.equal(makeLegend([])(M1), "1111aaaa...");
});

test("list-machines shows metadata in order of key, and a dash for nothing", () => {
  const columns = machineColumns(SHORT);
  const metadata = { region: "us", disk: "ssd" };
  assert.deepEqual(cells(columns, machine({ metadata, leader: true, api: "10.0.0.1:1" })), [
    "1111aaaa...",
    "10.0.0.1",
    "disk=ssd,region=us",
    "present",
    "0.1.0",
    "true",
    "10.0.0.1:1",
  ]);
  assert.deepEqual(cells(columns, machine({ address: "", version: "", present: false })), [
    "1111aaaa...",
    "-",
    "-",
    "away",
    "-",
    "false",
    "-",
  ]);
});

test("list-machines says what a present machine is doing", () => {
  const [column] = chosenColumns(machineColumns(SHORT), "state");
  assert.equal(column?.value(machine({ cordoned: true, draining: true })), "draining,cordoned");
});

test("list-unit-files shows a launched unit with short or full hash", () => {
  const launched = unit({ machineId: M1, current: "launched" });
  const fields = (options: typeof SHORT) =>
    cells(chosenColumns(unitFileColumns(options), UNIT_FILE_FIELDS), launched);
  assert.deepEqual(fields(SHORT), [
    "a.service",
    "0123456",
    "launched",
    "launched",
    "1111aaaa.../10.0.0.1",
  ]);
  assert.deepEqual(fields(FULL)[1], "0123456789abcdef0123456789abcdef01234567");
});

test("list-unit-files shows dashes for what is not, global units, descriptions and reasons", () => {
  const columns = unitFileColumns(SHORT);
  const of = (fields: string, view: ReturnType<typeof unit>) =>
    cells(chosenColumns(columns, fields), view);
  assert.deepEqual(of("state,target,tmachine,global,desc,reason", unit({ current: "inactive" })), [
    "inactive",
    "-",
    "-",
    "false",
    "-",
    "-",
  ]);
  assert.deepEqual(of("state,target,global", unit({ global: true })), ["-", "global", "true"]);
  const blocked = [{ reason: { type: "cordoned" as const }, machines: 1, examples: [M1] }];
  assert.deepEqual(of("desc,reason", unit({ description: "Hello", blocked })), [
    "Hello",
    "cordoned: takes no new units (1 machine: 1111aaaa.../10.0.0.1)",
  ]);
});

test("list-units has one row for each machine of a unit, in order of name and machine", () => {
  const rows = unitRows([
    unit({ name: "b.service", states: [state({ machineId: M2 }), state()] }),
    unit({ name: "c.service" }),
    unit({ states: [state({ active: "failed", sub: "failed", hash: "" })] }),
  ]);
  const columns = chosenColumns(unitColumns(SHORT), `${UNIT_FIELDS},hash`);
  assert.deepEqual(
    rows.map((row) => cells(columns, row)),
    [
      ["a.service", "1111aaaa.../10.0.0.1", "failed", "failed", "-"],
      ["b.service", "1111aaaa.../10.0.0.1", "active", "running", "0123456"],
      ["b.service", "5555aaaa...", "active", "running", "0123456"],
    ],
  );
});

test("chosenColumns() refuses no field and unknown ones", () => {
  assert.throws(() => chosenColumns(unitColumns(SHORT), ""), /Must define output format/);
  assert.throws(
    () => chosenColumns(unitColumns(SHORT), "unit,colour"),
    /Invalid key in output format: "colour"/,
  );
});
