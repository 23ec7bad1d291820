import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parseReservation } from "../../src/units/reservation.ts";
import { scanUnitFile, type UnitOption } from "../../src/units/unit-file.ts";
import { machineUnitFiles } from "../support/unit-files.ts";
import { assertReadWell } from "./real-unit-checks.ts";

test("every unit file of this machine is read without problems and comes back byte for byte", () => {
  const files = machineUnitFiles();
  for (const file of files) assertReadWell(file);
  assert(files.length >= 100, `only ${files.length} unit files on this machine`);
});

/** What `systemd-analyze verify` says of each text, with the file's name and what does not concern reading left out. */
function systemdRemarks(texts: readonly string[]): readonly (readonly string[])[] {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-verify-"));
  try {
    const paths = texts.map((text, index) => {
      const path = join(directory, `fuzz${index}.service`);
      writeFileSync(path, text);
      return path;
    });
    const { stderr, error } = spawnSync(
      "systemd-analyze",
      ["verify", "--man=no", "--generators=no", "--recursive-errors=no", ...paths],
      { encoding: "utf8" },
    );
    assert.equal(error, undefined, "systemd-analyze has to be installed");
    const remarks = stderr.split("\n");
    return paths.map((path) => {
      const own = remarks.filter((remark) => remark.startsWith(`${path}:`));
      return own.map((remark) => remark.slice(path.length + 1));
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Every remark that systemd should make of an option it does not know, and of a service type that is none. */
function expectedRemark(option: UnitOption): RegExp {
  const quote = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  if (option.name === "Type") {
    return new RegExp(`^\\d+: Failed to parse service type, ignoring: ${quote(option.value)}$`);
  }
  return new RegExp(
    `^\\d+: Unknown key( name)? '${quote(option.name)}' in section \\[?'?${quote(option.section)}'?\\]?, ignoring\\.$`,
  );
}

test("systemd finds the same options in random files, and mistakes in the same ones", () => {
  const line = fc.oneof(
    fc.constantFrom("Type=a", "Type = b c ", "  Type=d\\", "Type=\\", "Type=e \\ ", "Type=f\\\\"),
    fc.constantFrom(
      "Zed=1",
      " Zap = 2",
      "Zip=\\",
      "# x",
      " ; y \\",
      "#",
      "",
      " ",
      "\\",
      " g",
      "h=\\",
    ),
    fc.constantFrom(
      "nonsense",
      "=3",
      "[Service]",
      " [Service] ",
      "[Service] x",
      "[Service",
      "\ufeffZed=4",
    ),
  );
  const eol = fc.constantFrom("\n", "\n", "\n", "\r\n", "\r", "\n\r");
  const text = fc
    .tuple(
      fc.constantFrom("", "\ufeff", "# c\n"),
      fc.array(fc.tuple(line, eol), { minLength: 1, maxLength: 12 }),
      fc.boolean(),
    )
    .map(([start, lines, closed]) => {
      const body = `${start}[Service]\n${lines.flat().join("")}`;
      return closed ? body : body.trimEnd();
    });
  const texts = fc.sample(text, { numRuns: 400, seed: 20 });
  const remarks = systemdRemarks(texts);
  let compared = 0;
  for (const [index, content] of texts.entries()) {
    const scanned = scanUnitFile(content, "fuzz.service");
    const said = remarks[index] ?? [];
    const shown = JSON.stringify({ content, said, problems: scanned.problems });
    const mistakes = said.filter((remark) =>
      /Missing|outside of section|Invalid section header|Failed to parse file/.test(remark),
    );
    // A byte order mark inside the file we always refuse; systemd takes one anywhere, once.
    if (scanned.problems.some(({ message }) => message.startsWith("byte order mark"))) continue;
    assert.equal(scanned.problems.length > 0, mistakes.length > 0, shown);
    if (scanned.problems.length > 0) continue;
    const options = scanned.unitFile.options.filter(
      ({ name, value }) => name !== "Type" || value !== "",
    );
    // Newer versions take an empty Type= without a word.
    const named = said.filter((remark) => /Unknown key|service type.*: ./.test(remark));
    assert.equal(named.length, options.length, shown);
    for (const [at, option] of options.entries()) {
      assert.match(named[at] ?? "", expectedRemark(option), shown);
    }
    compared += options.length;
  }
  assert(compared >= 200, `only ${compared} options compared`);
});

const LIMITS = ["MemoryMax", "MemoryHigh", "MemoryMin", "CPUQuota", "TasksMax"] as const;

const LIMIT_VALUES = [
  ...[
    "512M",
    "0",
    "0.5",
    "1.5G",
    "1.G",
    ".5G",
    "1 G",
    " 5",
    "1G 512M",
    "512M 1G",
    "5 5",
    "1GB",
    "8B",
  ],
  ...[
    "1KB",
    "1k",
    "1KiB",
    "16E",
    "15E",
    "-1",
    "+5",
    "0x10",
    "0o17",
    "010",
    "09",
    "0b11",
    "1k",
    "1.5",
    "",
  ],
  ...[
    "0%",
    "50%",
    "100%",
    "100.01%",
    "150%",
    "12.5%",
    "12.345%",
    "12.%",
    ".5%",
    "5 %",
    "+5%",
    "-5%",
  ],
  ...["010%", "09%", "0x10%", "12.5‰", "12.55‰", "5‱", "5.5‱", "10001‱", "99999999999%"],
  ...["infinity", "Infinity", "inf", "18446744073709549568", "18446744073709551616", "lots"],
];

test("systemd passes over the same limits", () => {
  const texts = LIMITS.map(
    (limit) => `[Service]\n${LIMIT_VALUES.map((value) => `${limit}=${value}\n`).join("")}`,
  );
  const remarks = systemdRemarks(texts);
  for (const [index, limit] of LIMITS.entries()) {
    const firstValue = limit === "CPUQuota" ? "1%" : "17";
    const read = (value: string) => {
      const text = `[Service]\n${limit}=${firstValue}\n${limit}=${value}\n`;
      return JSON.stringify(
        parseReservation("a.service", [scanUnitFile(text, "a.service").unitFile]),
      );
    };
    const first = read(firstValue);
    for (const [at, value] of LIMIT_VALUES.entries()) {
      const remark = remarks[index]?.find((text) => text.startsWith(`${at + 2}:`));
      assert.equal(read(value) === first, remark !== undefined, `${limit}=${value}: ${remark}`);
    }
  }
});
