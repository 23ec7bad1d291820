import { type DropIn, type Manifest, manifestHash } from "../units/manifest.ts";
import { scanUnitFile } from "../units/unit-file.ts";
import { problemText, type UnitProblem } from "../units/unit-problem.ts";
import { parseRequirements } from "../units/x-fleet.ts";
import { encodeRecord } from "./records.ts";

/** Of a manifest as it is kept in the registry. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;

/** A manifest in order for the unit it is for. */
export interface CheckedManifest {
  readonly type: "ok";
  readonly manifest: Manifest;
  readonly hash: string;
  /** Value of `files/<hash>`. */
  readonly encoded: string;
  readonly global: boolean;
}

export type ManifestCheck =
  | CheckedManifest
  /** `message` says where in the file, `plain` only what. */
  | { readonly type: "invalid"; readonly message: string; readonly plain: string };

export function checkManifest(unit: string, given: Manifest): ManifestCheck {
  const dropIns = [...given.dropIns].sort((a, b) => (a.name < b.name ? -1 : 1));
  const problem = dropInProblem(dropIns);
  if (problem !== undefined) return { type: "invalid", message: problem, plain: problem };
  const manifest: Manifest = { content: given.content, dropIns };
  const scans = [
    scanUnitFile(manifest.content, unit),
    ...dropIns.map(({ name, content }) => scanUnitFile(content, `${unit}.d/${name}`)),
  ];
  const files = scans.map(({ unitFile }) => unitFile);
  const { requirements, problems } = parseRequirements(unit, files);
  const first: UnitProblem | undefined = [
    ...scans.flatMap((scan) => scan.problems),
    ...problems,
  ][0];
  if (first !== undefined) {
    return { type: "invalid", message: problemText(first), plain: first.message };
  }
  const encoded = encodeRecord(manifest);
  if (Buffer.byteLength(encoded) > MANIFEST_BYTES_MAX) {
    const message = `the unit file and its drop-ins are larger than ${MANIFEST_BYTES_MAX / 1024} KiB together`;
    return { type: "invalid", message, plain: message };
  }
  const hash = manifestHash(manifest);
  return { type: "ok", manifest, hash, encoded, global: requirements.global };
}

function dropInProblem(dropIns: readonly DropIn[]): string | undefined {
  const names = new Set<string>();
  for (const { name } of dropIns) {
    if (!/^[0-9A-Za-z:_.\\@-]{1,250}\.conf$/.test(name) || name.startsWith(".")) {
      return `invalid drop-in name "${name}": expect a file name that ends in .conf`;
    }
    if (names.has(name)) return `drop-in "${name}" is given twice`;
    names.add(name);
  }
  return undefined;
}
