import * as v from "valibot";
import type { Reason } from "../cluster/reason.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";

/**
 * Values of the registry's keys: JSON objects. Unknown fields are kept (a newer version wrote them), so every schema is loose and
 * whoever changes a record spreads the one it read.
 */

const desiredState = v.picklist(["inactive", "loaded", "launched"]);
const text = v.string();
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const metadata = v.record(text, text);

export const clusterIdRecord = v.looseObject({ id: text });
export type ClusterIdRecord = v.InferOutput<typeof clusterIdRecord>;

export const clusterFormatRecord = v.looseObject({ minimum: count });

/** `units/<unit>`. Its create revision is the unit's identity. */
export const unitRecord = v.looseObject({
  desired: desiredState,
  /** Hash of the manifest in `files/`. */
  manifest: text,
  /** Raised by `restart`: each value means one start. */
  restarts: count,
  global: v.boolean(),
  /** Who owns it when not a person, and where it comes from. */
  source: v.exactOptional(v.looseObject({ name: text, path: text, version: text, author: text })),
});
export type UnitRecord = v.InferOutput<typeof unitRecord>;

/** `files/<hash>`. */
export const manifestRecord = v.looseObject({
  content: text,
  dropIns: v.array(v.looseObject({ name: text, content: text })),
  /** How [X-Fleet] is read; no part of the hash. */
  lenient: v.exactOptional(v.boolean()),
});

/** `machines/<id>`, bound to the machine's lease: its presence. */
export const machineRecord = v.looseObject({
  /** Names the daemon process that holds the machine. */
  nonce: text,
  bootId: text,
  leaseId: text,
  ttlMs: count,
  /** The address other machines reach it by; empty when it has none. */
  address: text,
  /** `host:port` of its API, when it listens on TCP. */
  api: v.exactOptional(text),
  /** Found by the daemon itself: arch, hostname, ... */
  automatic: metadata,
  /** From fleet.conf. */
  metadata,
  version: text,
  /** Newest record format it understands. */
  format: count,
  capacity: v.looseObject({ cpus: v.number(), memoryBytes: v.number(), tasks: v.number() }),
  /** How many times its capacity it gives away, by resource; undefined: once. */
  overcommit: v.exactOptional(
    v.looseObject({ memory: v.number(), cpu: v.number(), tasks: v.number() }),
  ),
  /** It hands its units over and goes. */
  leaving: v.boolean(),
});
export type MachineRecord = v.InferOutput<typeof machineRecord>;

/** `roster/<id>`: machines known although away. Times are Unix milliseconds of the machine's own clock: for people, and to tell when a cluster is being switched on. */
export const rosterRecord = v.looseObject({
  firstSeenMs: v.number(),
  lastBootMs: v.number(),
  bootId: text,
  address: text,
});
export type RosterRecord = v.InferOutput<typeof rosterRecord>;

/** `operators/<id>`: what operators set on a machine. `null` hides a value that the machine has by itself. */
export const operatorRecord = v.looseObject({
  metadata: v.record(text, v.nullable(text)),
  cordoned: v.boolean(),
  draining: v.boolean(),
  /** Confirms one absence of the machine as its loss: mod revision of its roster record, which is written anew when it is back. */
  evacuate: v.exactOptional(count),
});
export type OperatorRecord = v.InferOutput<typeof operatorRecord>;

/** `placements/<unit>`: the machine a non-global unit belongs to. Created only if absent (I1). */
export const placementRecord = v.looseObject({
  machine: text,
  identity: count,
  /** On its way from another machine: reserved here while it stops there, and until its start here has come to an end. */
  moving: v.exactOptional(v.looseObject({ from: text, wasWell: v.boolean() })),
});
export type PlacementRecord = v.InferOutput<typeof placementRecord>;

/** `assignments/<id>/<unit>`: what a machine is to hold. */
export const assignmentRecord = v.looseObject({
  identity: count,
  manifest: text,
  target: v.picklist(["loaded", "launched"]),
  restarts: count,
  global: v.boolean(),
});
export type AssignmentRecord = v.InferOutput<typeof assignmentRecord>;

/** `states/<id>/<unit>`: what the machine holds and what systemd says of it. The unit occupies the machine while it is there. */
export const stateRecord = v.looseObject({
  /** Undefined: found on the machine without a record of where it came from. */
  identity: v.exactOptional(count),
  manifest: text,
  /** What runs is older than `manifest`, the files: they are being changed, or (`kept`) it goes on so until its next start, as OnUpdate= asks. */
  update: v.exactOptional(v.picklist(["pending", "kept"])),
  /** fleet's own hash of the unit file (SHA-1 of the normalised text). */
  hash: text,
  /** `launched` once its start was asked of systemd, until it is stopped. */
  current: desiredState,
  load: text,
  active: text,
  sub: text,
  /** systemd's Result property: `success`, `exit-code`, ...; empty for types that have none. */
  result: text,
  mainPid: count,
  /** Since when `active` and `sub` are as they are: Unix milliseconds, the machine's wall clock. */
  sinceMs: v.number(),
  /** The last start: which restart counter it served and how its job ended. */
  start: v.exactOptional(
    v.looseObject({
      restarts: count,
      outcome: v.picklist([
        "pending",
        "done",
        "failed",
        "dependency",
        "canceled",
        "timeout",
        "skipped",
      ]),
    }),
  ),
  /** The last task that failed and is still due. */
  error: v.exactOptional(v.looseObject({ task: text, code: text, message: text, attempts: count })),
});
export type StateRecord = v.InferOutput<typeof stateRecord>;

const reason = v.custom<Reason>(
  (value) => typeof value === "object" && value !== null && "type" in value,
);

/** `blocked/<unit>`: why a wanted unit is not where it should be (I6). */
export const blockedRecord = v.looseObject({
  identity: count,
  sinceMs: v.number(),
  /** Most frequent first. `machines` is how many it holds for (0: the unit itself), `examples` names up to three. */
  reasons: v.array(
    v.looseObject({
      reason,
      machines: count,
      examples: v.array(text),
      varied: v.exactOptional(v.boolean()),
    }),
  ),
});
export type BlockedRecord = v.InferOutput<typeof blockedRecord>;

/** `history/<unit>`: where it was, newest last, bounded. Times are Unix milliseconds of the leader's wall clock. */
export const historyRecord = v.looseObject({
  entries: v.array(
    v.looseObject({
      machine: text,
      fromMs: v.number(),
      untilMs: v.exactOptional(v.number()),
      why: v.exactOptional(text),
      attempt: v.exactOptional(text),
    }),
  ),
});
export type HistoryRecord = v.InferOutput<typeof historyRecord>;

/** `moves/<unit>`, bound to a lease that nobody renews: an operator wants the unit's group on another machine. */
export const moveRecord = v.looseObject({ from: text, to: text, identity: count });

/** `engine/leader`, bound to the leader's lease. Its create revision is the fencing token (I2). */
export const leaderRecord = v.looseObject({ machine: text, nonce: text, format: count });
export type LeaderRecord = v.InferOutput<typeof leaderRecord>;

/** Record format written by this version, and the oldest version's that it can read. */
export const RECORD_FORMAT = 1;

type AnyRecordSchema = v.GenericSchema<unknown, object>;

/** Reads a record; `record-unreadable` names the key and what is wrong with it. */
export function decodeRecord<S extends AnyRecordSchema>(
  schema: S,
  key: string,
  value: string,
): v.InferOutput<S> {
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch (error) {
    throw new FleetError("record-unreadable", `record ${key} is not JSON: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  const parsed = v.safeParse(schema, json);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  throw new FleetError(
    "record-unreadable",
    `record ${key} is not readable: ${v.getDotPath(issue) ?? "it"}: ${issue.message}`,
  );
}

export function encodeRecord(record: object): string {
  return JSON.stringify(record);
}
