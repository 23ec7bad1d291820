import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import { templateOf } from "../units/unit-name.ts";
import { type ChangesCheck, type CheckedChange, checkChanges } from "./change-check.ts";
import {
  appliedResult,
  type CurrentUnit,
  type Decision,
  decideChange,
  refused,
} from "./change-decision.ts";
import { splitChanges } from "./change-groups.ts";
import type { Keys } from "./keys.ts";
import type { ManifestCache } from "./manifest-cache.ts";
import { type CheckedManifest, checkManifest } from "./manifest-check.ts";
import { decodeRecord, encodeRecord, type UnitRecord, unitRecord } from "./records.ts";
import type { CallOptions, Comparison, KeyValue, Operation, Revision, Store } from "./store.ts";

const ATTEMPTS_MAX = 5;

export type ApplyOutcome =
  | { readonly type: "applied"; readonly results: readonly ApplyResult[] }
  /** Nothing was done. */
  | Extract<ChangesCheck, { readonly type: "invalid" }>;

interface Step {
  readonly name: string;
  readonly current: CurrentUnit | undefined;
  readonly decision: Decision;
}

type Write = Step & { readonly decision: Exclude<Decision, { readonly type: "done" }> };

type Commit =
  | { readonly type: "applied"; readonly revision: Revision }
  /** Somebody else was faster; nothing was written. */
  | { readonly type: "lost" }
  /** The answer was lost and nothing shows that it was applied; it may be yet. */
  | { readonly type: "unknown" };

/** An attempt without an answer: its record carries `id`, by which it is recognised. */
interface Attempt {
  readonly id: string;
  readonly write: Write;
}

/**
 * Applies changes to `units/` and `files/`. Every write names the revision it was decided on, so two that apply at once cannot undo
 * each other; a lost race is decided anew. A write whose answer was lost is looked for, never repeated blindly.
 */
export class UnitChanges {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #manifests: ManifestCache;
  readonly #random: Random;

  constructor(options: {
    readonly store: Store;
    readonly keys: Keys;
    readonly manifests: ManifestCache;
    readonly random: Random;
  }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#manifests = options.manifests;
    this.#random = options.random;
  }

  /** Results in order of the changes. Throws when the registry is away from the start; later, what could not be done is `refused`. */
  async apply(changes: readonly UnitChange[], call: CallOptions = {}): Promise<ApplyOutcome> {
    const check = checkChanges(changes);
    if (check.type === "invalid") return check;
    const results: ApplyResult[] = [];
    try {
      for (const group of splitChanges(check.checked)) {
        for await (const result of this.#applyGroup(group, call)) results.push(result);
      }
    } catch (error) {
      if (results.length === 0 || !isFleetError(error)) throw error;
      for (const { name } of changes.slice(results.length)) {
        results.push({
          type: "refused",
          name,
          message: `${error.message}; this change may or may not have been applied`,
        });
      }
    }
    return { type: "applied", results };
  }

  async *#applyGroup(
    group: readonly CheckedChange[],
    call: CallOptions,
  ): AsyncGenerator<ApplyResult> {
    const templates = new Map<string, Promise<CheckedManifest | undefined>>();
    const currents = await this.#currents(
      group.map(({ change }) => change.name),
      call,
    );
    const steps: Step[] = [];
    for (const checked of group) {
      steps.push(await this.#decide(checked, currents.get(checked.change.name), templates, call));
    }
    const id = this.#random.id();
    const writes = steps.filter(isWrite);
    const commit = writes.length === 0 ? undefined : await this.#commit(writes, id, call);
    for (const [index, step] of steps.entries()) {
      const checked = group[index];
      if (!isWrite(step)) yield doneResult(step);
      else if (commit?.type === "applied") {
        yield appliedResult(step.name, step.decision, step.current, commit.revision);
      } else if (checked !== undefined) {
        const unanswered = commit?.type === "unknown" ? [{ id, write: step }] : [];
        yield await this.#applyOne(checked, unanswered, call);
      }
    }
  }

  /** One change by itself, after the group it was in could not be written. */
  async #applyOne(
    checked: CheckedChange,
    unanswered: readonly Attempt[],
    call: CallOptions,
  ): Promise<ApplyResult> {
    const attempts = [...unanswered];
    for (let round = 1; round <= ATTEMPTS_MAX; round += 1) {
      const { name } = checked.change;
      const step = await this.#decide(checked, await this.#current(name, call), new Map(), call);
      const earlier = landed(attempts, step.current);
      if (earlier !== undefined) return earlier;
      if (!isWrite(step)) return doneResult(step);
      const id = this.#random.id();
      const commit = await this.#commit([step], id, call);
      if (commit.type === "applied") {
        return appliedResult(step.name, step.decision, step.current, commit.revision);
      }
      if (commit.type === "unknown") attempts.push({ id, write: step });
    }
    const { name } = checked.change;
    const message = `cannot change ${name}: others changed it ${ATTEMPTS_MAX} times meanwhile, try again`;
    return { type: "refused", name, message };
  }

  async #decide(
    checked: CheckedChange,
    current: CurrentUnit | undefined,
    templates: Map<string, Promise<CheckedManifest | undefined>>,
    call: CallOptions,
  ): Promise<Step> {
    const { change } = checked;
    const { name } = change;
    let manifest = checked.manifest;
    const template =
      change.type === "submit" && manifest === undefined ? templateOf(name) : undefined;
    if (template !== undefined && template !== name) {
      let reading = templates.get(template);
      if (reading === undefined) {
        reading = this.#templateManifest(template, call);
        templates.set(template, reading);
      }
      const found = await reading;
      // Specifiers make the same text mean something else for each instance.
      const own = found && checkManifest(name, found.manifest);
      if (own?.type === "invalid") {
        return { name, current, decision: refused(name, `template ${template}: ${own.message}`) };
      }
      manifest = own;
    }
    return { name, current, decision: decideChange(change, current, manifest) };
  }

  async #current(name: string, call: CallOptions): Promise<CurrentUnit | undefined> {
    return (await this.#currents([name], call)).get(name);
  }

  /** By name; units that are not there are left out. A group of changes is small enough for one read. */
  async #currents(
    names: readonly string[],
    call: CallOptions,
  ): Promise<ReadonlyMap<string, CurrentUnit>> {
    const found = new Map<string, CurrentUnit>();
    const keys = names.map((name) => this.#keys.unit(name));
    for (const item of (await this.#store.readKeys({ keys }, call)).items) {
      const { createRevision, modRevision } = item;
      const name = item.key.slice(this.#keys.unit("").length);
      found.set(name, { createRevision, modRevision, record: readUnitRecord(item) });
    }
    return found;
  }

  async #templateManifest(
    template: string,
    call: CallOptions,
  ): Promise<CheckedManifest | undefined> {
    const current = await this.#current(template, call);
    if (current?.record === undefined) return undefined;
    const manifest = await this.#manifests.manifest(current.record.manifest, call);
    if (manifest === undefined) return undefined;
    const checked = checkManifest(template, manifest);
    if (checked.type === "ok") return checked;
    throw new FleetError("unit-invalid", `template ${template}: ${checked.message}`);
  }

  /** Writes all in one transaction. */
  async #commit(writes: readonly Write[], id: string, call: CallOptions): Promise<Commit> {
    const comparisons: Comparison[] = [];
    const operations: Operation[] = [];
    const files = new Map<string, CheckedManifest>();
    for (const { name, current, decision } of writes) {
      const key = this.#keys.unit(name);
      comparisons.push({ type: "modified-at", key, revision: current?.modRevision ?? 0 });
      if (decision.type === "delete") {
        operations.push({ type: "delete", key });
        continue;
      }
      const { manifest, record } = decision;
      operations.push({ type: "put", key, value: encodeRecord({ ...record, [ATTEMPT]: id }) });
      if (manifest !== undefined) files.set(manifest.hash, manifest);
    }
    const keys = [...files.keys()].map((hash) => this.#keys.file(hash));
    const there = keys.length === 0 ? [] : (await this.#store.readKeys({ keys }, call)).items;
    const revisions = new Map(there.map(({ key, createRevision }) => [key, createRevision]));
    for (const { hash, encoded, manifest } of files.values()) {
      const key = this.#keys.file(hash);
      const revision = revisions.get(key);
      // In one transaction with the unit, so that whoever collects unused files never takes one that is about to be named.
      // A lenient one may be there as a strict one, from a unit for which that does.
      if (revision === undefined || manifest.lenient)
        operations.push({ type: "put", key, value: encoded });
      else comparisons.push({ type: "created-at", key, revision });
    }
    try {
      const { applied, header } = await this.#store.transact({ comparisons, operations }, call);
      return applied ? { type: "applied", revision: header.revision } : { type: "lost" };
    } catch (error) {
      if (!isFleetError(error, "store-unavailable", "store-deadline")) throw error;
      return await this.#lookFor(writes, id, call);
    }
  }

  /**
   * Whether a transaction without an answer was applied. When nothing shows it, it may still be on its way: deciding anew
   * is safe, because each attempt compares the revision it was decided on, so only one of them can be applied.
   */
  async #lookFor(writes: readonly Write[], id: string, call: CallOptions): Promise<Commit> {
    for (const { name, decision } of writes) {
      if (decision.type === "delete") continue;
      const current = await this.#current(name, call);
      if (current?.record?.[ATTEMPT] === id) {
        return { type: "applied", revision: current.modRevision };
      }
    }
    return { type: "unknown" };
  }
}

function readUnitRecord({ key, value }: KeyValue): UnitRecord | undefined {
  try {
    return decodeRecord(unitRecord, key, value);
  } catch (error) {
    if (isFleetError(error, "record-unreadable")) return undefined;
    throw error;
  }
}

/** Field of a unit record that names the attempt which wrote it. */
const ATTEMPT = "attempt";

function isWrite(step: Step): step is Write {
  return step.decision.type !== "done";
}

function doneResult({ decision, name }: Step): ApplyResult {
  if (decision.type === "done") return decision.result;
  throw new TypeError(`a write is not done yet: ${name}`);
}

/** The result of an earlier attempt whose answer was lost, if what is there now shows that it was applied. */
function landed(
  attempts: readonly Attempt[],
  current: CurrentUnit | undefined,
): ApplyResult | undefined {
  for (const { id, write } of attempts) {
    const { decision, name } = write;
    if (decision.type === "delete") {
      // Gone or made anew since: destroyed, by this attempt or by another that wanted the same.
      if (current?.createRevision !== write.current?.createRevision) {
        return appliedResult(name, decision, write.current, 0);
      }
    } else if (current?.record?.[ATTEMPT] === id) {
      return appliedResult(name, decision, write.current, current.createRevision);
    } else if (
      decision.result === "changed" &&
      current?.record !== undefined &&
      current.createRevision === write.current?.createRevision &&
      write.current.record !== undefined &&
      decision.record.restarts > write.current.record.restarts &&
      current.record.restarts > write.current.record.restarts
    ) {
      // A start after this request was asked for is on its way, whoever's counter it is.
      return appliedResult(name, decision, write.current, current.createRevision);
    }
  }
  return undefined;
}
