import type { Manifest } from "../units/manifest.ts";
import { NO_REQUIREMENTS, type Requirements } from "../units/requirements.ts";
import { compareText, type FactValue } from "./facts.ts";
import type { UnitReason } from "./reason.ts";
import { type Constraints, makeConstraints } from "./relations.ts";

/** What a unit's [X-Fleet] section asks for, or why it is not known. `unreadable`: leave the unit alone. */
export type ReadConstraints =
  | {
      readonly type: "known";
      readonly constraints: Constraints;
      /** The same: what a neighbour has of a unit of which there is one version. */
      readonly all: readonly [Constraints];
    }
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
const UNCONSTRAINED = known(makeConstraints(NO_REQUIREMENTS));

interface ManifestEntry {
  readonly manifest: string;
  value: FactValue<Manifest>;
  /** By unit name. Almost always there is only one, which needs no map: there may be very many manifests. */
  users: User | Map<string, User> | undefined;
}

interface User {
  readonly unit: string;
  /** How many of the unit's records name it. */
  count: number;
  parsed: ReadConstraints | undefined;
}

/** Manifests by hash: who uses them, and what they ask for, each parsed once per unit. */
export class ManifestTable {
  readonly #read: RequirementsReader;
  readonly #entries = new Map<string, ManifestEntry>();
  /** Asked for last: a manifest comes just before its unit, and is read just after it has come to be used. */
  #latest: ManifestEntry | undefined;

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
    this.#tidy(entry);
    if (same || entry.users === undefined) return NOBODY;
    const users = usersOf(entry);
    for (const user of users) user.parsed = undefined;
    return users.map(({ unit }) => unit);
  }

  addUser(manifest: string, unit: string): void {
    const entry = this.#entry(manifest);
    const known = userOf(entry, unit);
    if (known === undefined) {
      const user = { unit, count: 1, parsed: undefined };
      if (entry.users === undefined) entry.users = user;
      else if (entry.users instanceof Map) entry.users.set(unit, user);
      else entry.users = new Map([entry.users, user].map((one) => [one.unit, one]));
    } else {
      known.count += 1;
    }
  }

  removeUser(manifest: string, unit: string): void {
    const entry = this.#entry(manifest);
    const user = userOf(entry, unit);
    if (user !== undefined) user.count -= 1;
    if (user?.count === 0) {
      if (entry.users instanceof Map && entry.users.size > 1) entry.users.delete(unit);
      else entry.users = undefined;
    }
    this.#tidy(entry);
  }

  constraints(manifest: string, unit: string): ReadConstraints {
    const entry = this.#known(manifest);
    if (entry?.value === undefined) return MISSING;
    if (entry.value === "unreadable") return UNREADABLE;
    const user = userOf(entry, unit);
    const parsed = user?.parsed ?? this.#parse(unit, entry.value.record);
    if (user !== undefined) user.parsed = parsed;
    return parsed;
  }

  /** Manifests that no unit, assignment or state names, by hash. Looks at all: asked for at leisure. */
  unused(countMax: number): readonly UnusedManifest[] {
    const found: UnusedManifest[] = [];
    for (const { manifest, value, users } of this.#entries.values()) {
      if (users === undefined && isReadable(value)) {
        found.push({ manifest, modRevision: value.modRevision });
      }
    }
    return found.sort((a, b) => compareText(a.manifest, b.manifest)).slice(0, countMax);
  }

  #parse(unit: string, manifest: Manifest): ReadConstraints {
    try {
      const requirements = this.#read(unit, manifest);
      return isUnconstrained(requirements) ? UNCONSTRAINED : known(makeConstraints(requirements));
    } catch (error) {
      if (!(error instanceof Error) || error.name === "AssertionError") throw error;
      return { type: "problem", reason: { type: "manifest-invalid", detail: error.message } };
    }
  }

  #known(manifest: string): ManifestEntry | undefined {
    if (this.#latest?.manifest !== manifest) this.#latest = this.#entries.get(manifest);
    return this.#latest;
  }

  #entry(manifest: string): ManifestEntry {
    const known = this.#known(manifest);
    if (known !== undefined) return known;
    const entry = { manifest, value: undefined, users: undefined };
    this.#entries.set(manifest, entry);
    this.#latest = entry;
    return entry;
  }

  #tidy({ manifest, value, users }: ManifestEntry): void {
    if (users !== undefined || value !== undefined) return;
    this.#entries.delete(manifest);
    this.#latest = undefined;
  }
}

const NOBODY: readonly string[] = [];

function known(constraints: Constraints): ReadConstraints {
  return { type: "known", constraints, all: [constraints] };
}

function userOf({ users }: ManifestEntry, unit: string): User | undefined {
  if (users instanceof Map) return users.get(unit);
  return users?.unit === unit ? users : undefined;
}

function usersOf({ users }: ManifestEntry): readonly User[] {
  if (users instanceof Map) return [...users.values()];
  return users === undefined ? [] : [users];
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
