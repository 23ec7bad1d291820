import { summarizeManifest } from "../registry/manifest-summary.ts";
import { isFleetError } from "../runtime/errors.ts";
import { fencingOf } from "../units/fencing.ts";
import {
  effectiveHash,
  type Manifest,
  manifestHash,
  manifestOptions,
  manifestTexts,
} from "../units/manifest.ts";
import type { Fencing } from "../units/requirements.ts";
import { unitPartners } from "../units/unit-relations.ts";
import type { StartOutcome } from "../units/unit-state.ts";
import { type UpdateWay, updateWay } from "../units/update-way.ts";
import type { RecordFolder } from "./host.ts";
import type { CurrentUnit, StartRecord } from "./reconcile.ts";
import {
  type HeldUnit,
  isRunning,
  type Systemd,
  type UnitStatus,
  unknownStatus,
} from "./systemd.ts";

/** What matters of a manifest, so that it is read and parsed once. */
export interface ManifestFacts {
  readonly manifest: string;
  readonly effective: string;
  readonly update: UpdateWay;
  /** fleet's hash. */
  readonly hash: string;
  /** Undefined: it does not say Fencing=strict. */
  readonly fencing: Fencing | undefined;
}

/** What matters of a held unit's files. */
export interface HeldFile extends ManifestFacts {
  /** Units that systemd should know when it starts this one; most are not of the cluster, or not here. */
  readonly partners: readonly string[];
  /** What it finds in FLEET_FENCING_TOKEN. */
  readonly fencingToken: number | undefined;
}

/** Most units do not say so, and units come by the thousand. */
function manifestFencing(manifest: Manifest): Fencing | undefined {
  if (!manifestTexts(manifest).some((text) => text.includes("Fencing"))) return undefined;
  return fencingOf(manifestOptions(manifest));
}

export function describeManifest(manifest: Manifest): ManifestFacts {
  return {
    manifest: manifestHash(manifest),
    effective: effectiveHash(manifest),
    update: updateWay(manifest),
    hash: summarizeManifest(manifest).hash,
    fencing: manifestFencing(manifest),
  };
}

const STARTED = "started";

/** What this machine holds, as this process knows it: files on disk, start records below /run, systemd's word on each unit. */
export class Holdings {
  readonly #systemd: Systemd;
  readonly #records: RecordFolder;
  readonly #files = new Map<string, HeldFile>();
  readonly #starts = new Map<string, StartRecord>();
  readonly #statuses = new Map<string, UnitStatus>();
  /** Units whose start has ended, while what is known of them is from before. */
  readonly #ending = new Set<string>();
  /** Writes of one unit's start record, one after the other. */
  readonly #writes = new Map<string, Promise<unknown>>();

  constructor(options: { systemd: Systemd; records: RecordFolder }) {
    this.#systemd = options.systemd;
    this.#records = options.records;
  }

  /** Adopts what is there (I4): a daemon that starts anew changes nothing by itself. */
  async load(): Promise<void> {
    for (const held of await this.#systemd.held()) this.setFile(held);
    for (const unit of await this.#records.list(STARTED)) {
      const record = parseStartRecord(await this.#records.read(`${STARTED}/${unit}`));
      if (record !== undefined) this.#starts.set(unit, record);
    }
    await this.refresh();
  }

  /** Asks systemd anew for every unit. */
  async refresh(signal?: AbortSignal): Promise<void> {
    const units = this.units();
    const statuses = await this.#systemd.status(units, signal);
    for (const status of statuses) this.#statuses.set(status.unit, status);
    for (const unit of units) await this.noteBegun(unit);
  }

  async refreshUnit(unit: string): Promise<void> {
    const [status] = await this.#systemd.status([unit]);
    if (status !== undefined) this.#statuses.set(unit, status);
  }

  /** Asks systemd anew, which is not made to load the unit for it. Gives back what it says. */
  async glance(unit: string, signal?: AbortSignal): Promise<UnitStatus> {
    const status = await this.#systemd.glance(unit, signal);
    // What systemd has forgotten again loaded as it did before.
    const load = status.load || (this.#statuses.get(unit)?.load ?? "");
    if (load !== "") this.#statuses.set(unit, { ...status, load });
    return status;
  }

  /** Every unit with a file or a start record, sorted. */
  units(): readonly string[] {
    return [...new Set([...this.#files.keys(), ...this.#starts.keys()])].sort();
  }

  /** How many units there are. */
  get count(): number {
    let count = this.#files.size;
    for (const unit of this.#starts.keys()) if (!this.#files.has(unit)) count += 1;
    return count;
  }

  has(unit: string): boolean {
    return this.#files.has(unit) || this.#starts.has(unit);
  }

  /** systemd has been asked about it. */
  isKnown(unit: string): boolean {
    return this.#statuses.has(unit);
  }

  isRunning(unit: string): boolean {
    const status = this.#statuses.get(unit);
    return status !== undefined && (isRunning(status) || status.hasJob);
  }

  file(unit: string): HeldFile | undefined {
    return this.#files.get(unit);
  }

  start(unit: string): StartRecord | undefined {
    return this.#starts.get(unit);
  }

  status(unit: string): UnitStatus {
    return (
      this.#statuses.get(unit) ?? unknownStatus(unit, this.#files.has(unit) ? "" : "not-found")
    );
  }

  current(unit: string): CurrentUnit {
    return {
      file: this.#files.get(unit),
      start: this.#starts.get(unit),
      status: this.status(unit),
    };
  }

  /** It is on disk. `facts`: of its manifest, if they are known. */
  setFile({ unit, manifest, fencingToken }: HeldUnit, facts = describeManifest(manifest)): void {
    this.#files.set(unit, { ...facts, partners: unitPartners(unit, manifest), fencingToken });
  }

  setStatus(status: UnitStatus): void {
    this.#statuses.set(status.unit, status);
  }

  async setStart(unit: string, record: StartRecord): Promise<void> {
    await this.#inTurn(unit, () => this.#writeStart(unit, record));
  }

  async #writeStart(unit: string, record: StartRecord): Promise<void> {
    await this.#records.write(`${STARTED}/${unit}`, JSON.stringify(record));
    this.#starts.set(unit, record);
  }

  /** How a start ended, and what has become of the unit. A start whose record is gone has been made void since: the fence has fallen. */
  async endStart(unit: string, record: StartRecord): Promise<void> {
    this.#ending.add(unit);
    try {
      await this.#inTurn(unit, async () => {
        if (this.#starts.has(unit)) await this.#writeStart(unit, record);
      });
      await this.refreshUnit(unit);
    } finally {
      this.#ending.delete(unit);
    }
  }

  /** How the start ended, for others: an end beside a status from before would say that the unit is over already. */
  outcome(unit: string): StartOutcome | undefined {
    return this.#ending.has(unit) ? "pending" : this.#starts.get(unit)?.outcome;
  }

  /** Remembers of a start that is not confirmed yet that it came about, if the unit runs. */
  async noteBegun(unit: string): Promise<void> {
    const isDue = (start: StartRecord | undefined) =>
      start?.outcome === "pending" && start.begun !== true && isRunning(this.status(unit));
    if (!isDue(this.#starts.get(unit))) return;
    await this.#inTurn(unit, async () => {
      const start = this.#starts.get(unit);
      if (start === undefined || !isDue(start)) return;
      await this.#writeStart(unit, { ...start, begun: true });
    }).catch((error: unknown) => {
      // A full disk: only a daemon that dies right now would miss it.
      if (!isFleetError(error)) throw error;
    });
  }

  async clearStart(unit: string): Promise<void> {
    await this.#inTurn(unit, async () => {
      await this.#records.remove(`${STARTED}/${unit}`);
      this.#starts.delete(unit);
    });
  }

  async #inTurn(unit: string, work: () => Promise<void>): Promise<void> {
    const before = this.#writes.get(unit);
    const mine = before === undefined ? work() : before.then(work, work);
    this.#writes.set(unit, mine);
    try {
      await mine;
    } finally {
      if (this.#writes.get(unit) === mine) this.#writes.delete(unit);
    }
  }

  async forget(unit: string): Promise<void> {
    await this.clearStart(unit);
    this.#files.delete(unit);
    this.#statuses.delete(unit);
  }
}

/** A record that cannot be read counts as none: the start is then asked for again, which does nothing to a running unit. */
function parseStartRecord(text: string | undefined): StartRecord | undefined {
  if (text === undefined) return undefined;
  try {
    const json = JSON.parse(text) as StartRecord;
    return typeof json.identity === "number" && typeof json.effective === "string"
      ? json
      : undefined;
  } catch {
    return undefined;
  }
}
