/** What has to be looked at again. */
export interface Dirty {
  readonly units: Set<string>;
  readonly machines: Set<string>;
  /** What happens to this unit itself is known. */
  acting?: string | undefined;
}

export interface ReadonlyDirty {
  readonly units: ReadonlySet<string>;
  readonly machines: ReadonlySet<string>;
}

export function newDirty(): Dirty {
  return { units: new Set(), machines: new Set() };
}
