import type { Explanation } from "../cluster/explain.ts";
import type { Outlook } from "../cluster/outlook.ts";
import type { Rebalance } from "../cluster/rebalance.ts";
import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import type { MachineView, UnitHistory, UnitView } from "../cluster/views.ts";
import type { OperatorChange } from "../registry/machine-changes.ts";
import type { MoveOutcome, MoveRequest } from "../registry/move-requests.ts";
import type { StoredSource } from "../registry/sources.ts";
import type { Endpoint, Link } from "../services/endpoint.ts";
import type { DropIn } from "../units/manifest.ts";

export type { ApplyResult, MoveRequest, OperatorChange, UnitChange, UnitHistory };

/**
 * Bodies of /fleet/v2 (docs/api.md). JSON; errors are ErrorBody with an HTTP status of 4xx or 5xx.
 * Every POST needs `Content-Type: application/json`, with or without a body (415 otherwise).
 *
 *   GET  /fleet/v2/cluster                 ClusterBody
 *   GET  /fleet/v2/machines                MachinesBody
 *   GET  /fleet/v2/units[?unit=NAME...][&machines=1]    UnitsBody (absent names are left out; with the machines too)
 *   GET  /fleet/v2/units/NAME/manifest     ManifestBody
 *   GET  /fleet/v2/units/NAME/explain      ExplainBody
 *   POST /fleet/v2/apply                   ApplyRequest -> ApplyBody
 *   POST /fleet/v2/plan                    ApplyRequest -> PlanBody (nothing is written)
 *   POST /fleet/v2/watch                   WatchRequest -> newline-delimited WatchLine, until either side closes
 *   GET  /fleet/v2/watch?unit=NAME...|all=1[&kind=units|machines|services]  server-sent WatchEvents; header Last-Event-ID resumes
 *   GET  /fleet/v2/openapi.json            all of this as an OpenAPI 3.1 document
 *   GET  /fleet/v2/units/NAME/journal?machine=ID&lines=N&follow=1&output=short   text, streamed
 *   GET  /fleet/v2/units/NAME/status?machine=ID    text of `systemctl status`; its exit status in trailer/header `fleet-exit-status`
 *   GET  /fleet/v2/journal?machine=ID&unit=NAME...&lines=N&follow=1&since=&until=&priority=&grep=&after=CURSOR&fields=A,B
 *        newline-delimited: journald's entries as JSON, empty lines while there are none, journalctl's own words, JournalEnd at the end
 *   GET  /fleet/v2/history[?unit=NAME...]  HistoryBody (units without one are left out)
 *   POST /fleet/v2/units/NAME/act[?machine=ID]  ActionRequest -> 204
 *   GET  /fleet/v2/sources                 SourcesBody
 *   GET  /fleet/v2/sources/NAME            SourceBody
 *   PUT  /fleet/v2/sources/NAME            SourceBody -> SourceBody (409 when the revision is not the newest)
 *   DELETE /fleet/v2/sources/NAME          204; its units stay
 *   POST /fleet/v2/rejoin                  RejoinRequest -> RejoinBody (this machine only)
 *   POST /fleet/v2/machines/ID/forget      empty -> 204
 *   POST /fleet/v2/machines/ID/operator    OperatorChange -> OperatorBody
 *   GET  /fleet/v2/rebalance[?max-moves=N] RebalanceBody (nothing is moved)
 *   POST /fleet/v2/moves                   MoveRequest -> MoveBody (of one unit with those tied to it; within 10 s)
 *   GET  /fleet/v2/services                ServicesBody
 *   GET  /fleet/v2/services/NAME           ServicesBody of this one
 *   POST /fleet/v2/services/NAME/INSTANCE/register    HandRequest -> 204 (409: a sidekick's)
 *   POST /fleet/v2/services/NAME/INSTANCE/deregister  empty -> 204
 *   POST /fleet/v2/watch-services          {"services":[NAME...]} (none: all) -> newline-delimited ServicesLine
 *   GET  /fleet/v2/links                   LinksBody
 */
export interface ClusterBody {
  readonly clusterId?: string;
  /** `etcd at ...` / `embedded registry ...` */
  readonly registry: string;
  readonly singleMachine: boolean;
  /** Machine that answers. */
  readonly machineId: string;
  readonly leader?: string;
  /** What an operator should know before anything else: detached, no engine, registry away, machine loss held back. */
  readonly notices: readonly Notice[];
}

/** Body of every answer with an HTTP status of 4xx or 5xx. */
export interface ErrorBody {
  readonly error: {
    /**
     * What a client may branch on. Of `journal` and `status`: `not-found`, `not-placed`, `no-api-address` (the machine that holds the
     * unit listens on no TCP address: use ssh), `machine-away`, `machine-unreachable`. Of everything: `registry-away`,
     * `bad-request`, `too-large`, `unsupported-media-type`, `forbidden-host`, `method-not-allowed`, `internal`.
     */
    readonly code: string;
    readonly message: string;
    /** With `no-api-address`, `machine-away` and `machine-unreachable`: which machine, and the address others reach it by. */
    readonly machineId?: string;
    readonly address?: string;
  };
}

export interface Notice {
  readonly code: "detached" | "no-engine" | "registry-away" | "loss-held" | "single-machine";
  readonly message: string;
}

export interface MachinesBody {
  readonly machines: readonly MachineView[];
  readonly notices: readonly Notice[];
}

export interface UnitsBody {
  readonly revision: number;
  readonly units: readonly UnitView[];
  /** Where they were asked for: as they are now, which may be later than the revision of the units. */
  readonly machines?: readonly MachineView[];
  readonly notices: readonly Notice[];
}

export interface ManifestBody {
  readonly name: string;
  readonly content: string;
  readonly dropIns: readonly DropIn[];
  readonly lenient?: boolean;
}

/**
 * Changes to units, each applied whole or not at all, in order of the list. All are checked first: when one is invalid nothing is applied
 * (400, naming it). Later ones may still fail singly (`ApplyResult.type` "refused").
 */
export interface ApplyRequest {
  readonly changes: readonly UnitChange[];
}

export interface ApplyBody {
  readonly results: readonly ApplyResult[];
}

export type WatchRequest =
  | { readonly units: readonly string[] }
  /** Every unit, also those that come, and which machines are present. */
  | { readonly all: true };

/** First one `unit` or `gone` line per unit asked for, then `synced`, then a line per change; `alive` at least every 5 s. */
export type WatchLine =
  | { readonly type: "unit"; readonly unit: UnitView }
  | { readonly type: "gone"; readonly name: string }
  /** Ids of the machines that are present: at first and at every change; only where all was asked for. */
  | { readonly type: "machines"; readonly present: readonly string[] }
  | { readonly type: "synced"; readonly notices: readonly Notice[] }
  | { readonly type: "notices"; readonly notices: readonly Notice[] }
  | { readonly type: "alive" };

/**
 * Data of a server-sent event. The lists are those of the kind that is watched; `gone` are names of units, ids of machines, or
 * `SERVICE/INSTANCE`. The id of the event is `revision`: who has it knows everything up to there. `notices` has no id.
 */
export type WatchEvent =
  | ({
      /** `snapshot`: all there is; what was known before is void. `too-old`: what was shown last is no longer known. */
      readonly type: "snapshot" | "change";
      readonly why?: "start" | "too-old";
      readonly revision: number;
      readonly gone: readonly string[];
    } & {
      readonly units?: readonly UnitView[];
      readonly machines?: readonly MachineView[];
      readonly services?: readonly Endpoint[];
    })
  | { readonly type: "notices"; readonly notices: readonly Notice[] };

/** The last line of a journal. Without it the connection was cut. */
export interface JournalEnd {
  readonly end: { readonly exitStatus: number };
}

export interface HistoryBody {
  readonly units: readonly UnitHistory[];
}

/** Done at once by systemd on the machine that has the unit. `signal`: its number. */
export type ActionRequest =
  | { readonly action: "reload" | "reset-failed" }
  | { readonly action: "kill"; readonly signal: number };

export interface ServicesBody {
  readonly endpoints: readonly Endpoint[];
  readonly notices: readonly Notice[];
}

export interface LinksBody extends ServicesBody {
  readonly links: readonly Link[];
}

/** An endpoint that operators register for something outside of the cluster; weight 100 and priority 0 unless given. */
export type HandRequest = Pick<Endpoint, "host" | "port"> &
  Partial<Pick<Endpoint, "protocol" | "weight" | "priority" | "tags">>;

/** First a line per service asked for (one without `service` for all), then one per change, each the whole of it; `alive` in between. */
export type ServicesLine =
  | {
      readonly type: "services";
      readonly service?: string;
      readonly endpoints: readonly Endpoint[];
    }
  | { readonly type: "alive" };

export interface RejoinRequest {
  readonly mode: "keep" | "discard";
}

export interface RejoinBody {
  readonly units: readonly string[];
}

/** What operators have set on a machine, after a change. */
export interface OperatorBody {
  readonly cordoned: boolean;
  readonly draining: boolean;
  /** `null` hides a key that the machine has by itself. */
  readonly metadata: Readonly<Record<string, string | null>>;
}

/** What would bring the loads of machines together. */
export interface RebalanceBody extends Rebalance {
  readonly notices: readonly Notice[];
}

export interface MoveBody {
  /** `moving`: the engine has begun; the unit's view tells the rest. */
  readonly outcome: MoveOutcome;
}

export interface SourcesBody {
  readonly sources: readonly SourceBody[];
}

/** What a sync does with one directory of unit files. Written back with the revision it was read with. */
export type SourceBody = StoredSource;

/** Where a unit is and why, where else it could be, and what keeps it from every other machine. */
export interface ExplainBody extends Explanation {
  readonly revision: number;
  readonly notices: readonly Notice[];
}

/** What applying the changes would do: nobody has done it. */
export interface PlanBody {
  /** Of the registry that was planned on. */
  readonly revision: number;
  /** In order of the changes. */
  readonly results: readonly ApplyResult[];
  /** The units of the changes and every other that would move, by name. */
  readonly outlooks: readonly Outlook[];
  readonly notices: readonly Notice[];
}
