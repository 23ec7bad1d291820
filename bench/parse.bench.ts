import { scanUnitFile } from "../src/units/unit-file.ts";
import { parseRequirements } from "../src/units/x-fleet.ts";
import { debianUnitFiles, machineUnitFiles } from "../test/support/unit-files.ts";
import type { Bench, BenchContext } from "./harness.ts";

/** Of one figure: long enough that the clock and the collector of garbage do not show. */
const ROUND_MS = 1000;

export const bench: Bench = {
  about: "reading every unit file of this machine and of Debian packages, requirements included",
  references: {
    "parse.mb_s": "systemd reads a unit file once per daemon-reload",
    "parse.units_s": "the planner's 150,000 units: a second or two",
  },
  run(context) {
    const debian = debianUnitFiles();
    if (debian.remarks !== "") context.note(debian.remarks);
    const files = [...machineUnitFiles(), ...debian.files].map(({ name, bytes }) => ({
      name,
      text: bytes.toString("utf8"),
      byteCount: bytes.length,
    }));
    const total = files.reduce((sum, { byteCount }) => sum + byteCount, 0);
    context.note(`${files.length} files, ${total} bytes`);
    readAll(files, ROUND_MS); // warms up
    for (let round = 1; round <= context.rounds; round++) record(context, files, total);
    return Promise.resolve();
  },
};

interface File {
  readonly name: string;
  readonly text: string;
}

function record(context: BenchContext, files: readonly File[], total: number): void {
  const { passes, seconds } = readAll(files, ROUND_MS);
  context.record({ name: "parse.mb_s", unit: "MB/s", value: (passes * total) / seconds / 1e6 });
  context.record({ name: "parse.units_s", unit: "1/s", value: (passes * files.length) / seconds });
}

/** All files again and again, for about so long. */
function readAll(files: readonly File[], durationMs: number) {
  const beganMs = performance.now();
  let passes = 0;
  do {
    for (const { name, text } of files) {
      parseRequirements(name, [scanUnitFile(text, name).unitFile]);
    }
    passes += 1;
  } while (performance.now() - beganMs < durationMs);
  return { passes, seconds: (performance.now() - beganMs) / 1000 };
}
