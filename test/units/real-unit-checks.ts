import assert from "node:assert/strict";
import { parseReservation } from "../../src/units/reservation.ts";
import { decodeUnitText, parseUnitFile, printUnitFile } from "../../src/units/unit-file.ts";
import { unitHash } from "../../src/units/unit-hash.ts";
import { isUnitType, parseUnitName, validateUnitName } from "../../src/units/unit-name.ts";
import { parseRequirements } from "../../src/units/x-fleet.ts";
import type { RealUnitFile } from "../support/unit-files.ts";

/** What has to hold of every file that systemd takes without a word: no problem is found, and every byte comes back. */
export function assertReadWell({ path, name, bytes }: RealUnitFile): void {
  const unitFile = parseUnitFile(decodeUnitText(bytes, path), path);
  assert(Buffer.from(printUnitFile(unitFile)).equals(bytes), path);
  assert.match(unitHash(unitFile), /^[0-9a-f]{40}$/, path);
  if (!isUnitType(parseUnitName(name)?.type ?? "")) return;
  assert.equal(validateUnitName(name), undefined, path);
  assert.deepEqual(parseRequirements(name, [unitFile]).problems, [], path);
  parseReservation(name, [unitFile]);
}
