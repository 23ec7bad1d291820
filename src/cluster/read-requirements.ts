import type { Manifest } from "../units/manifest.ts";
import { NO_REQUIREMENTS, type Requirements } from "../units/requirements.ts";
import { mentionsLimits } from "../units/reservation.ts";
import { scanUnitFile } from "../units/unit-file.ts";
import { assertNoProblems } from "../units/unit-problem.ts";
import { parseRequirements } from "../units/x-fleet.ts";

/**
 * What a unit asks for: its [X-Fleet] section and its limits. Throws UnitFileError if that is not clear: a requirement that is passed over
 * would let the unit run where it must not. Faults elsewhere in the file are for systemd to judge.
 */
export function readRequirements(unit: string, manifest: Manifest): Requirements {
  const { content, dropIns } = manifest;
  // Most units say nothing to the scheduler, and there may be very many of them.
  if (!mentions(content) && !dropIns.some((dropIn) => mentions(dropIn.content))) {
    return NO_REQUIREMENTS;
  }
  const files = [
    scanUnitFile(content, unit),
    ...dropIns.map((dropIn) => scanUnitFile(dropIn.content, `${unit}.d/${dropIn.name}`)),
  ];
  const { requirements, problems } = parseRequirements(
    unit,
    files.map(({ unitFile }) => unitFile),
    manifest,
  );
  assertNoProblems(problems);
  return requirements;
}

function mentions(text: string): boolean {
  return /x-?fleet/i.test(text) || mentionsLimits(text);
}
