import { createHash } from "node:crypto";
import { DEFAULT_DEPLOYMENT, type Deployment } from "./deployment.ts";
import { NO_REQUIREMENTS, type Requirements } from "./requirements.ts";
import { reservedNameReason } from "./reserved-names.ts";
import { optionValues, scanUnitFile, type UnitFile, type UnitOption } from "./unit-file.ts";
import { unitHash } from "./unit-hash.ts";
import { validateUnitName } from "./unit-name.ts";
import { excerpt, type UnitProblem } from "./unit-problem.ts";
import { parseRequirements, type RequirementsResult } from "./x-fleet.ts";

/** A unit file and its drop-ins, byte for byte. Kept in the registry once per content, whatever units use it. */
export interface Manifest {
  readonly content: string;
  /** In order of name. */
  readonly dropIns: readonly DropIn[];
  /**
   * How [X-Fleet] is to be read (ReadOptions), if somebody asked for it. No part of the hash: a unit that was taken strictly
   * asks for the same when it is read leniently.
   */
  readonly lenient?: boolean;
}

export interface DropIn {
  /** File name below `<unit>.d/`, ends in `.conf`. */
  readonly name: string;
  readonly content: string;
}

/** Of the unit file and its drop-ins together, as JSON: etcd takes requests of 1.5 MiB. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;

export const DROP_INS_MAX = 100;

/** Address of a manifest by its bytes: SHA-256 in hexadecimal. */
export function manifestHash(manifest: Manifest): string {
  const parts = manifest.dropIns.flatMap((dropIn) => [dropIn.name, dropIn.content]);
  return hashOf([manifest.content, ...parts]);
}

/** The unit file, then its drop-ins. */
export function manifestTexts({ content, dropIns }: Manifest): readonly string[] {
  return [content, ...dropIns.map((dropIn) => dropIn.content)];
}

/** What all of them say together. What cannot be read is left out: validateManifest() tells of it. */
export function manifestOptions(manifest: Manifest): readonly UnitOption[] {
  return manifestTexts(manifest).flatMap((text) => scanUnitFile(text, "unit").unitFile.options);
}

export interface ManifestReport {
  /** Why the unit is refused, most important first; empty: it is good. */
  readonly errors: readonly UnitProblem[];
  /** What is passed over in a lenient manifest. */
  readonly warnings: readonly UnitProblem[];
  /** Only what could be read: not to be used when there are errors. */
  readonly requirements: Requirements;
  readonly deployment: Deployment;
  /** fleet's hash of the unit file; empty if there is too much to read. */
  readonly hash: string;
  /** First Description= of [Unit], empty without one. */
  readonly description: string;
}

/** Everything that has to hold before a unit is taken into the cluster, and what the API shows of it. */
export function validateManifest(unitName: string, manifest: Manifest): ManifestReport {
  const errors: UnitProblem[] = [];
  const refuse = (message: string, file = unitName) => {
    errors.push({ file, line: undefined, column: undefined, message });
  };
  const nameProblem = validateUnitName(unitName);
  const reserved = reservedNameReason(unitName);
  if (nameProblem !== undefined) refuse(nameProblem);
  else if (reserved !== undefined) refuse(`the name is reserved: ${reserved}`);
  // systemd takes an empty file for a mask: the unit could never start.
  if (manifest.content.trim() === "") refuse("the unit file is empty");
  const tooLarge = sizeProblem(manifest);
  if (tooLarge !== undefined) {
    refuse(tooLarge);
    const [requirements, deployment] = [NO_REQUIREMENTS, DEFAULT_DEPLOYMENT];
    return { errors, warnings: [], requirements, deployment, hash: "", description: "" };
  }
  for (const message of dropInNameProblems(manifest.dropIns)) refuse(message);
  const scanned = scanManifest(unitName, manifest);
  const parsed = parseRequirements(unitName, scanned.files, manifest);
  const { requirements, deployment, problems, warnings } = parsed;
  errors.push(...scanned.problems, ...problems);
  const [main] = scanned.files;
  return {
    errors,
    warnings,
    requirements,
    deployment,
    hash: unitHash(main),
    description: description(main),
  };
}

/** As validateManifest, but only what placing needs: for units that are in the registry already. */
export function manifestRequirements(unitName: string, manifest: Manifest): RequirementsResult {
  const scanned = scanManifest(unitName, manifest);
  const result = parseRequirements(unitName, scanned.files, manifest);
  return { ...result, problems: [...scanned.problems, ...result.problems] };
}

/**
 * Changes exactly when systemd could treat the unit otherwise: the options outside of sections that begin with `X-`,
 * in order, and the names of the drop-ins (a drop-in of the same name that the machine has elsewhere is hidden by
 * ours, even by an empty one). Comments, blank lines and [X-Fleet] do not count. SHA-256 in hexadecimal.
 */
export function effectiveHash(manifest: Manifest): string {
  const { files, problems } = scanManifest("", manifest);
  // Nobody knows what systemd makes of it, so every byte counts.
  if (problems.length > 0) return manifestHash(manifest);
  const parts: string[] = [manifest.content === "" ? "masked" : "options"];
  for (const { file, options } of files) {
    const seen = options.filter(({ section }) => !section.startsWith("X-"));
    parts.push(file, String(seen.length));
    for (const { section, name, value } of seen) parts.push(section, name, value);
  }
  return hashOf(parts);
}

/** Whether `systemctl enable` would find something to do. */
export function hasInstallSection(manifest: Manifest): boolean {
  const options = scanManifest("", manifest).files.flatMap((file) => file.options);
  return INSTALL_OPTIONS.some(
    (name) => optionValues(options, { section: "Install", name }).length > 0,
  );
}

const INSTALL_OPTIONS = ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"];

interface ScannedManifest {
  /** The unit file, then the drop-ins in the order in which systemd applies them. */
  readonly files: readonly [UnitFile, ...UnitFile[]];
  readonly problems: readonly UnitProblem[];
}

function scanManifest(unitName: string, manifest: Manifest): ScannedManifest {
  const main = scanUnitFile(manifest.content, unitName);
  const dropIns = manifest.dropIns
    .toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
    .map(({ name, content }) => scanUnitFile(content, `${unitName}.d/${name}`));
  return {
    files: [main.unitFile, ...dropIns.map(({ unitFile }) => unitFile)],
    problems: [main, ...dropIns].flatMap(({ problems }) => problems),
  };
}

function dropInNameProblems(dropIns: readonly DropIn[]): readonly string[] {
  const seen = new Set<string>();
  const problems: string[] = [];
  for (const { name } of dropIns) {
    if (!/^[^./\s\p{Cc}][^/\p{Cc}]*\.conf$/u.test(name) || Buffer.byteLength(name) > 255) {
      problems.push(`drop-in ${excerpt(name)}: the name has to be like 10-name.conf, without "/"`);
    } else if (/^[0-9]+-fleet-ts/.test(name)) {
      // The agent's own, beside ours: see OWN_DROP_IN.
      problems.push(`drop-in ${excerpt(name)}: names like 50-fleet-ts.conf belong to fleet-ts`);
    } else if (seen.has(name)) {
      problems.push(`drop-in ${excerpt(name)} is there twice`);
    }
    seen.add(name);
  }
  return problems;
}

function sizeProblem(manifest: Manifest): string | undefined {
  if (manifest.dropIns.length > DROP_INS_MAX) {
    return `the unit has ${manifest.dropIns.length} drop-ins, more than ${DROP_INS_MAX}`;
  }
  const bytes = Buffer.byteLength(JSON.stringify(manifest));
  return bytes > MANIFEST_BYTES_MAX
    ? `unit file and drop-ins have ${bytes} bytes, more than ${MANIFEST_BYTES_MAX}`
    : undefined;
}

function description(unitFile: UnitFile): string {
  const option = unitFile.options.find(
    ({ section, name }) => section === "Unit" && name === "Description",
  );
  return option?.value ?? "";
}

function hashOf(parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    const bytes = Buffer.from(part, "utf8");
    // The length in front keeps `ab` + `c` apart from `a` + `bc`.
    hash.update(`${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}
