import { createHash } from "node:crypto";

/** A unit file and its drop-ins, byte for byte. Kept in the registry once per content, whatever units use it. */
export interface Manifest {
  readonly content: string;
  /** In order of name. */
  readonly dropIns: readonly DropIn[];
}

export interface DropIn {
  /** File name below `<unit>.d/`, ends in `.conf`. */
  readonly name: string;
  readonly content: string;
}

/** Address of a manifest by its bytes: SHA-256 in hexadecimal. */
export function manifestHash(manifest: Manifest): string {
  const hash = createHash("sha256");
  for (const part of [
    manifest.content,
    ...manifest.dropIns.flatMap((dropIn) => [dropIn.name, dropIn.content]),
  ]) {
    const bytes = Buffer.from(part, "utf8");
    // The length in front keeps `ab` + `c` apart from `a` + `bc`.
    hash.update(`${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}
