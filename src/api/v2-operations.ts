import type * as v from "valibot";
import { JOURNAL_OUTPUTS } from "../units/journal-query.ts";
import { actionRequest } from "./v2-actions.ts";
import { rejoinRequest } from "./v2-cluster.ts";
import { moveRequest } from "./v2-moves.ts";
import { operatorChange } from "./v2-operators.ts";
import type { AnswerName } from "./v2-schemas.ts";
import { handRequest, watchServicesRequest } from "./v2-services.ts";
import { putRequest } from "./v2-sources.ts";
import { applyRequest } from "./v2-units.ts";
import { watchRequest } from "./v2-watch.ts";

/** What can be asked of /fleet/v2: one entry per route and method, from which the OpenAPI document is made. */
export interface Operation {
  readonly id: string;
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** As routes have it: `units/:name`. */
  readonly path: string;
  readonly summary: string;
  readonly query?: Readonly<Record<string, QueryParameter>>;
  readonly headers?: Readonly<Record<string, QueryParameter>>;
  readonly request?: RequestName;
  /** Undefined: 204 without a body. */
  readonly answer?: {
    readonly type: "application/json" | "application/x-ndjson" | "text/plain" | "text/event-stream";
    /** Of the body, or of each of its lines or events. */
    readonly schema?: AnswerName;
    readonly headers?: Readonly<Record<string, string>>;
  };
}

/** A JSON schema, with what it is for. */
export interface QueryParameter {
  readonly description: string;
  readonly schema: Readonly<Record<string, unknown>>;
}

export const REQUESTS = {
  ...{ ApplyRequest: applyRequest, WatchRequest: watchRequest, ActionRequest: actionRequest },
  ...{ MoveRequest: moveRequest, OperatorChange: operatorChange, RejoinRequest: rejoinRequest },
  ...{ HandRequest: handRequest, WatchServicesRequest: watchServicesRequest },
  ...{ PutSourceRequest: putRequest },
} as const satisfies Readonly<Record<string, v.GenericSchema>>;
type RequestName = keyof typeof REQUESTS;

const text = { type: "string" };
const names = (what: string): QueryParameter => ({
  description: `${what}; may be given several times`,
  schema: { type: "array", items: text },
});
const parameter = (description: string, schema: object = text): QueryParameter => ({
  description,
  schema: { ...schema },
});
const json = (schema: AnswerName) => ({ type: "application/json", schema }) as const;
const lines = (schema: AnswerName) => ({ type: "application/x-ndjson", schema }) as const;
const plain = { type: "text/plain" } as const;

const bool = { type: "string", enum: ["0", "1", "true", "false"] } as const;
const unit = names("names of units; all without");
const machine = parameter("id of the machine to ask, instead of the one that holds the unit");
const journal = {
  lines: parameter("the newest so many, or `all`; 10 without", {
    type: "string",
    pattern: "^([0-9]{1,7}|all)$",
  }),
  follow: parameter("go on with what comes", bool),
  since: parameter("as journalctl takes it"),
  until: parameter("as journalctl takes it"),
  priority: parameter("`err`, `3`, `warning..err`"),
  grep: parameter("a regular expression"),
  after: parameter("cursor of an entry: only what comes after it"),
  fields: parameter("names of the fields wanted, comma separated"),
};

export const OPERATIONS: readonly Operation[] = [
  {
    ...{ id: "getOpenApi", method: "GET", path: "openapi.json", summary: "This document" },
    answer: { type: "application/json" },
  },
  {
    ...{ id: "getCluster", method: "GET", path: "cluster" },
    summary: "Cluster, registry, leader, and what an operator should know first",
    answer: json("Cluster"),
  },
  {
    ...{ id: "listMachines", method: "GET", path: "machines" },
    summary: "Machines present or known from before",
    answer: json("Machines"),
  },
  {
    ...{ id: "forgetMachine", method: "POST", path: "machines/:id/forget" },
    summary: "Take a machine that is away off the list",
  },
  {
    ...{ id: "changeOperator", method: "POST", path: "machines/:id/operator" },
    summary: "Change what operators set on a machine",
    request: "OperatorChange",
    answer: json("Operator"),
  },
  {
    ...{ id: "rejoin", method: "POST", path: "rejoin" },
    summary: "Attach this machine, which is detached, to the registry that answers now",
    request: "RejoinRequest",
    answer: json("Rejoined"),
  },
  {
    ...{ id: "listUnits", method: "GET", path: "units" },
    summary: "Units as of one revision; absent ones are left out",
    query: { unit, machines: parameter("whether to tell of the machines too", bool) },
    answer: json("Units"),
  },
  {
    ...{ id: "getManifest", method: "GET", path: "units/:name/manifest" },
    summary: "Unit file and drop-ins, byte for byte",
    answer: json("Manifest"),
  },
  {
    ...{ id: "explainUnit", method: "GET", path: "units/:name/explain" },
    summary: "Where a unit is and why, where it could be, and why not elsewhere",
    answer: json("Explanation"),
  },
  {
    ...{ id: "getUnitJournal", method: "GET", path: "units/:name/journal" },
    summary: "journalctl of the machine that holds the unit",
    query: {
      machine,
      output: parameter("format", { type: "string", enum: [...JOURNAL_OUTPUTS] }),
      ...journal,
    },
    answer: plain,
  },
  {
    ...{ id: "getUnitStatus", method: "GET", path: "units/:name/status" },
    summary: "systemctl status on the machine that holds the unit",
    query: { machine },
    answer: { ...plain, headers: { "fleet-exit-status": "exit status of systemctl" } },
  },
  {
    ...{ id: "actOnUnit", method: "POST", path: "units/:name/act" },
    summary: "Reload, signal or reset the unit, at once, where it is",
    query: { machine },
    request: "ActionRequest",
  },
  {
    ...{ id: "applyChanges", method: "POST", path: "apply" },
    summary: "Submit, change the desired state of, restart and destroy units",
    request: "ApplyRequest",
    answer: json("Applied"),
  },
  {
    ...{ id: "planChanges", method: "POST", path: "plan" },
    summary: "What applying the changes would do; nothing is written",
    request: "ApplyRequest",
    answer: json("Planned"),
  },
  {
    ...{ id: "watchUnits", method: "POST", path: "watch" },
    summary: "Units asked for, then every change",
    request: "WatchRequest",
    answer: lines("WatchLine"),
  },
  {
    ...{ id: "watch", method: "GET", path: "watch" },
    summary: "Units, machines or services as server-sent events, which can be resumed",
    query: {
      kind: parameter("what to watch; units without", {
        type: "string",
        enum: ["units", "machines", "services"],
      }),
      unit: names("names of units"),
      all: parameter("all units", { type: "string", enum: ["1", "true"] }),
    },
    headers: {
      "Last-Event-ID": parameter("id of the last event received", {
        type: "string",
        pattern: "^[0-9]{1,16}$",
      }),
    },
    answer: { type: "text/event-stream", schema: "WatchEvent" },
  },
  {
    ...{ id: "readJournal", method: "GET", path: "journal" },
    summary: "Entries of one machine's journal, of several units",
    query: {
      unit: { ...names("names of units"), schema: { type: "array", items: text, minItems: 1 } },
      machine: parameter("id of the machine; this one without"),
      ...journal,
    },
    answer: lines("JournalLine"),
  },
  {
    ...{ id: "listHistory", method: "GET", path: "history" },
    summary: "Machines that units were placed on, also of units that are gone",
    query: { unit },
    answer: json("Histories"),
  },
  {
    ...{ id: "rebalance", method: "GET", path: "rebalance" },
    summary: "Moves that would bring the loads of machines together; nothing is moved",
    query: { "max-moves": parameter("so many at most", { type: "integer", minimum: 0 }) },
    answer: json("Rebalanced"),
  },
  {
    ...{ id: "moveUnit", method: "POST", path: "moves" },
    summary: "Move a unit, with those tied to it; answers within 10 s",
    request: "MoveRequest",
    answer: json("Moved"),
  },
  {
    ...{ id: "listSources", method: "GET", path: "sources" },
    summary: "What syncs do with their trees",
    answer: json("Sources"),
  },
  {
    ...{ id: "getSource", method: "GET", path: "sources/:name" },
    summary: "One of them",
    query: {
      after: parameter("a revision: answer when the record is another, within 20 s", {
        type: "string",
        pattern: "^[0-9]{1,16}$",
      }),
    },
    answer: json("Source"),
  },
  {
    ...{ id: "putSource", method: "PUT", path: "sources/:name" },
    summary: "Replace a source's record; 409 when the revision is not the newest",
    request: "PutSourceRequest",
    answer: json("Source"),
  },
  {
    ...{ id: "removeSource", method: "DELETE", path: "sources/:name" },
    summary: "Remove a source; its units stay",
  },
  {
    ...{ id: "tellSync", method: "POST", path: "sync/:name" },
    summary: "A forge tells of a push",
    headers: {
      "X-Hub-Signature-256": parameter("sha256= and the HMAC of the body", text),
    },
  },
  {
    ...{ id: "listServices", method: "GET", path: "services" },
    summary: "Endpoints of all services",
    answer: json("Services"),
  },
  {
    ...{ id: "getService", method: "GET", path: "services/:service" },
    summary: "Endpoints of one service",
    answer: json("Services"),
  },
  {
    ...{ id: "registerEndpoint", method: "POST", path: "services/:service/:instance/register" },
    summary: "Register an endpoint of something outside of the cluster",
    request: "HandRequest",
  },
  {
    ...{ id: "deregisterEndpoint", method: "POST", path: "services/:service/:instance/deregister" },
    summary: "Take such an endpoint away",
  },
  {
    ...{ id: "watchServices", method: "POST", path: "watch-services" },
    summary: "Endpoints of the services asked for, then at every change",
    request: "WatchServicesRequest",
    answer: lines("ServicesLine"),
  },
  {
    ...{ id: "listLinks", method: "GET", path: "links" },
    summary: "Who consumes which services",
    answer: json("Links"),
  },
];
