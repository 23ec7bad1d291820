import { type Manifest, manifestHash, validateManifest } from "../units/manifest.ts";
import { problemText } from "../units/unit-problem.ts";
import { encodeRecord } from "./records.ts";

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
  const { content, lenient } = given;
  const dropIns = [...given.dropIns].sort((a, b) => (a.name < b.name ? -1 : 1));
  const manifest: Manifest = { content, dropIns, ...(lenient === true ? { lenient } : {}) };
  const { errors, requirements } = validateManifest(unit, manifest);
  const [first] = errors;
  if (first !== undefined) {
    return { type: "invalid", message: problemText(first), plain: first.message };
  }
  return {
    type: "ok",
    manifest,
    hash: manifestHash(manifest),
    encoded: encodeRecord(manifest),
    global: requirements.global,
  };
}
