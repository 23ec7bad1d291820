import assert from "node:assert/strict";
import { test } from "node:test";
import { type Column, renderTable } from "../../src/cli/table.ts";

const COLUMNS: readonly Column<readonly [string, string, string]>[] = [
  { field: "unit", value: ([unit]) => unit },
  { field: "active", value: ([, active]) => active },
  { field: "sub", value: ([, , sub]) => sub },
];

test("renderTable() separates columns by tabs up to the same multiple of eight", () => {
  assert.equal(
    renderTable(
      COLUMNS,
      [
        ["hello.service", "active", "running"],
        ["a.service", "inactive", "dead"],
      ],
      { legend: true },
    ),
    "UNIT\t\tACTIVE\t\tSUB\nhello.service\tactive\t\trunning\na.service\tinactive\tdead\n",
  );
});

test("renderTable() leaves out the header, and measures without it", () => {
  assert.equal(renderTable(COLUMNS, [["a", "b", "c"]], { legend: false }), "a\tb\tc\n");
  assert.equal(renderTable(COLUMNS, [], { legend: false }), "");
});

test("renderTable() gives a cell of exactly eight characters a tab of its own", () => {
  assert.equal(
    renderTable(COLUMNS, [["12345678", "1234567", "x"]], { legend: false }),
    "12345678\t1234567\tx\n",
  );
});

test("renderTable() counts a letter of two code units as one", () => {
  assert.equal(
    renderTable(COLUMNS, [["🚀🚀🚀🚀", "é", "x"]], { legend: false }),
    "🚀🚀🚀🚀\té\tx\n",
  );
});

test("renderTable() colours cells without moving columns", () => {
  const style = (text: string, field: string) =>
    field === "active" ? `\u001b[31m${text}\u001b[39m` : text;
  assert.equal(
    renderTable(COLUMNS, [["a.service", "failed", "failed"]], { legend: true, style }),
    "UNIT\t\tACTIVE\tSUB\na.service\t\u001b[31mfailed\u001b[39m\tfailed\n",
  );
});
