import type { Manifest } from "../units/manifest.ts";
import { NO_REQUIREMENTS, type Requirements } from "../units/requirements.ts";
import type { FactValue } from "./facts.ts";
import type { UnitReason } from "./reason.ts";
import { type Constraints, makeConstraints } from "./relations.ts";

/** What a unit's [X-Fleet] section asks for, or why it is not known. `unreadable`: leave the unit alone. */
export type ReadConstraints =
  | { readonly type: "known"; readonly constraints: Constraints }
  | { readonly type: "problem"; readonly reason: UnitReason }
  | { readonly type: "unreadable" };

/** Reads the requirements of a unit from its manifest; specifiers need its name. Throws an Error whose message says what is wrong. */
export type RequirementsReader = (unit: string, manifest: Manifest) => Requirements;

export interface UnusedManifest {
  readonly manifest: string;
  readonly modRevision: number;
}

const MISSING: ReadConstraints = { type: "problem", reason: { type: "manifest-missing" } };
const UNREADABLE: ReadConstraints = { type: "unreadable" };
const UNCONSTRAINED: ReadConstraints = {
  type: "known",
  constraints: makeConstraints(NO_REQUIREMENTS),
};

interface ManifestEntry {
  value: FactValue<Manifest>;
  readonly users: Map<string, User>;
}

interface User {
  /** How many of the unit's records name it. */
  count: number;
  parsed: ReadConstraints | undefined;
}

/** Manifests by hash: who uses them, and what they ask for, each parsed once per unit. */
export class ManifestTable {
  readonly #read: RequirementsReader;
  readonly #entries = new Map<string, ManifestEntry>();
  readonly #unused = new Set<string>();

  constructor(read: RequirementsReader) {
    this.#read = read;
  }

  /** Gives the units for which something may have changed. */
  set(manifest: string, value: FactValue<Manifest>): readonly string[] {
    const entry = this.#entry(manifest);
    // The key is the hash of the content: a readable one never turns into another. How it is read may change.
    const same =
      isReadable(entry.value) &&
      isReadable(value) &&
      entry.value.record.lenient === value.record.lenient;
    entry.value = value;
    this.#settle(manifest, entry);
    if (same) return [];
    for (const user of entry.users.values()) user.parsed = undefined;
    return [...entry.users.keys()];
  }

  addUser(manifest: string, unit: string): void {
    const entry = this.#entry(manifest);
    const user = entry.users.get(unit);
    if (user === undefined) entry.users.set(unit, { count: 1, parsed: undefined });
    else user.count += 1;
    this.#settle(manifest, entry);
  }

  removeUser(manifest: string, unit: string): void {
    const entry = this.#entry(manifest);
    const user = entry.users.get(unit);
    if (user === undefined || user.count === 1) entry.users.delete(unit);
    else user.count -= 1;
    this.#settle(manifest, entry);
  }

  constraints(manifest: string, unit: string): ReadConstraints {
    const entry = this.#entries.get(manifest);
    if (entry?.value === undefined) return MISSING;
    if (entry.value === "unreadable") return UNREADABLE;
    const user = entry.users.get(unit);
    const parsed = user?.parsed ?? this.#parse(unit, entry.value.record);
    if (user !== undefined) user.parsed = parsed;
    return parsed;
  }

  /** Manifests that no unit, assignment or state names, by hash. */
  unused(countMax: number): readonly UnusedManifest[] {
    const found: UnusedManifest[] = [];
    for (const manifest of [...this.#unused].sort().slice(0, countMax)) {
      const value = this.#entries.get(manifest)?.value;
      if (isReadable(value)) found.push({ manifest, modRevision: value.modRevision });
    }
    return found;
  }

  #parse(unit: string, manifest: Manifest): ReadConstraints {
    try {
      const requirements = this.#read(unit, manifest);
      return isUnconstrained(requirements)
        ? UNCONSTRAINED
        : { type: "known", constraints: makeConstraints(requirements) };
    } catch (error) {
      if (!(error instanceof Error) || error.name === "AssertionError") throw error;
      return { type: "problem", reason: { type: "manifest-invalid", detail: error.message } };
    }
  }

  #entry(manifest: string): ManifestEntry {
    const known = this.#entries.get(manifest);
    if (known !== undefined) return known;
    const entry = { value: undefined, users: new Map() };
    this.#entries.set(manifest, entry);
    return entry;
  }

  #settle(manifest: string, entry: ManifestEntry): void {
    const isUnused = entry.users.size === 0;
    if (isUnused && entry.value === undefined) this.#entries.delete(manifest);
    if (isUnused && entry.value !== undefined) this.#unused.add(manifest);
    else this.#unused.delete(manifest);
  }
}

function isReadable<T>(
  value: FactValue<T>,
): value is Exclude<FactValue<T>, "unreadable" | undefined> {
  return value !== undefined && value !== "unreadable";
}

/** Most units ask for nothing: they share one object. */
function isUnconstrained(requirements: Requirements): boolean {
  return (
    requirements === NO_REQUIREMENTS ||
    (requirements.machineId === undefined &&
      requirements.notMachineIds.length === 0 &&
      requirements.machineOf.length === 0 &&
      requirements.metadata.length === 0 &&
      requirements.preferredMetadata.length === 0 &&
      requirements.spreadBy === undefined &&
      requirements.maxPerMachine === undefined &&
      requirements.weight === NO_REQUIREMENTS.weight &&
      requirements.conflicts.length === 0 &&
      requirements.replaces.length === 0 &&
      requirements.reservation === undefined &&
      requirements.moveOnFailure === undefined &&
      requirements.fencing === undefined &&
      requirements.maxUnavailable === NO_REQUIREMENTS.maxUnavailable &&
      !requirements.global)
  );
}
