import * as v from "valibot";
import type { Outlook } from "../cluster/outlook.ts";
import type { MachineReason, Reason } from "../cluster/reason.ts";
import type { ApplyResult } from "../cluster/unit-change.ts";
import type { BlockedReasonView, MachineView, UnitHistory, UnitView } from "../cluster/views.ts";
import { sourceRecord } from "../registry/source-record.ts";
import type { Endpoint, Link } from "../services/endpoint.ts";
import type {
  ApplyBody,
  ClusterBody,
  ErrorBody,
  ExplainBody,
  HistoryBody,
  LinksBody,
  MachinesBody,
  ManifestBody,
  MoveBody,
  Notice,
  OperatorBody,
  PlanBody,
  RebalanceBody,
  RejoinBody,
  ServicesBody,
  ServicesLine,
  SourceBody,
  SourcesBody,
  UnitsBody,
  WatchEvent,
  WatchLine,
} from "./protocol.ts";

/**
 * The answers of /fleet/v2 as schemas, for the OpenAPI document. Each is held to its type in protocol.ts by the compiler, and to what the
 * server sends by the tests. Loaded only when somebody asks for the document.
 */
type Answer<T> = v.GenericSchema<unknown, T>;

const text = v.string();
const number = v.number();
const flag = v.boolean();
const texts = v.array(text);
const optionalText = v.exactOptional(text);
const optionalNumber = v.exactOptional(number);
const desired = v.picklist(["inactive", "loaded", "launched"]);

const notice: Answer<Notice> = v.strictObject({
  code: v.picklist(["detached", "no-engine", "registry-away", "loss-held", "single-machine"]),
  message: text,
});
const notices = v.array(notice);

const resource = v.picklist(["memory", "cpu", "tasks"]);
const machineReasons = [
  v.strictObject({ type: v.literal("machine-id-differs"), required: text }),
  v.strictObject({ type: v.literal("machine-id-excluded"), excluded: text }),
  v.strictObject({ type: v.literal("metadata-differs"), requirement: text }),
  v.strictObject({ type: v.literal("peer-elsewhere"), peer: text }),
  v.strictObject({ type: v.picklist(["conflict", "replaced"]), unit: text }),
  v.strictObject({
    type: v.literal("too-many-instances"),
    template: text,
    max: number,
    there: number,
  }),
  v.strictObject({ type: v.literal("no-room"), resource, wanted: number, free: number }),
  v.strictObject({
    type: v.picklist(["name-taken", "cordoned", "draining", "leaving", "away", "failed-there"]),
  }),
  v.strictObject({ type: v.literal("fencing-too-slow"), stopMs: number, fitsMs: number }),
  v.strictObject({
    type: v.literal("group-member"),
    unit: text,
    because: v.lazy((): Answer<MachineReason> => machineReason),
  }),
] as const;
const machineReason: Answer<MachineReason> = v.variant("type", machineReasons);

const machineId = text;
const unitReasons = [
  v.strictObject({ type: v.picklist(["no-machines", "manifest-missing"]) }),
  v.strictObject({ type: v.literal("peer-not-wanted"), peer: text }),
  v.strictObject({
    type: v.picklist(["stopping", "machine-lost", "drain-stuck", "drain-pinned", "failed"]),
    machineId,
  }),
  v.strictObject({ type: v.literal("waiting-for-room"), machineId, unit: text }),
  v.strictObject({
    type: v.literal("loss-held"),
    machineId,
    why: v.picklist(["boot-grace", "mass-loss"]),
  }),
  v.strictObject({ type: v.literal("move-limit"), machineId, limit: number }),
  v.strictObject({ type: v.literal("rolling"), done: number, of: number }),
  v.strictObject({ type: v.literal("manifest-invalid"), detail: text }),
] as const;
const unitReason = v.variant("type", unitReasons);
const reason: Answer<Reason> = v.variant("type", [...machineReasons, ...unitReasons]);

const blockedReason: Answer<BlockedReasonView> = v.strictObject({
  reason,
  machines: number,
  examples: texts,
  varied: v.exactOptional(v.boolean()),
});

const unit: Answer<UnitView> = v.strictObject({
  name: text,
  identity: number,
  desired,
  restarts: number,
  global: flag,
  manifest: text,
  hash: text,
  description: text,
  source: v.exactOptional(v.strictObject({ name: text, path: text, version: text, author: text })),
  machineId: optionalText,
  movingFrom: optionalText,
  current: v.exactOptional(desired),
  states: v.array(
    v.strictObject({
      machineId,
      identity: optionalNumber,
      manifest: text,
      update: v.exactOptional(v.picklist(["pending", "kept"])),
      hash: text,
      current: desired,
      load: text,
      active: text,
      sub: text,
      result: text,
      mainPid: number,
      sinceMs: number,
      start: v.exactOptional(
        v.strictObject({
          restarts: number,
          outcome: v.picklist([
            ...(["pending", "done", "failed", "dependency"] as const),
            ...(["canceled", "timeout", "skipped"] as const),
          ]),
        }),
      ),
      error: v.exactOptional(
        v.strictObject({ task: text, code: text, message: text, attempts: number }),
      ),
    }),
  ),
  assigned: v.array(
    v.strictObject({ machineId, target: v.picklist(["loaded", "launched"]), present: flag }),
  ),
  blocked: v.array(blockedReason),
});

const machine: Answer<MachineView> = v.strictObject({
  id: text,
  present: flag,
  address: text,
  metadata: v.record(text, text),
  version: text,
  leaving: flag,
  cordoned: flag,
  draining: flag,
  api: optionalText,
  leader: flag,
});

const endpoint: Answer<Endpoint> = v.strictObject({
  service: text,
  instance: text,
  host: text,
  port: number,
  protocol: v.picklist(["tcp", "udp"]),
  health: v.picklist(["unknown", "passing", "failing", "draining"]),
  detail: text,
  weight: number,
  priority: number,
  tags: v.record(text, text),
  unit: optionalText,
  machine: optionalText,
  sinceMs: number,
});
const endpoints = v.array(endpoint);

const link: Answer<Link> = v.strictObject({
  machine: text,
  consumer: text,
  services: v.array(v.strictObject({ service: text, local: text })),
});

const applyResult: Answer<ApplyResult> = v.variant("type", [
  v.strictObject({
    type: v.picklist(["created", "replaced", "changed", "unchanged", "destroyed"]),
    name: text,
    identity: number,
    restarts: number,
  }),
  v.strictObject({ type: v.literal("differs"), name: text, identity: number }),
  v.strictObject({ type: v.literal("not-found"), name: text }),
  v.strictObject({ type: v.literal("refused"), name: text, message: text }),
]);

const outlook: Answer<Outlook> = v.strictObject({
  unit: text,
  before: texts,
  after: texts,
  why: optionalText,
  blocked: v.array(blockedReason),
});

const history: Answer<UnitHistory> = v.strictObject({
  name: text,
  entries: v.array(
    v.strictObject({ machineId, fromMs: number, untilMs: optionalNumber, why: optionalText }),
  ),
});

const source: Answer<SourceBody> = v.strictObject({
  name: text,
  record: sourceRecord,
  revision: number,
});

const remedyStep = v.variant("type", [
  v.strictObject({ type: v.literal("uncordon"), machineId }),
  v.strictObject({
    type: v.literal("set-metadata"),
    machineId,
    key: text,
    value: v.nullable(text),
  }),
  v.strictObject({ type: v.picklist(["unload", "load", "submit"]), unit: text }),
  v.strictObject({ type: v.literal("free-name"), machineId, unit: text }),
]);

const explain: Answer<ExplainBody> = v.strictObject({
  revision: number,
  name: text,
  desired,
  global: flag,
  placed: v.exactOptional(
    v.strictObject({
      machineId,
      sinceMs: optionalNumber,
      before: v.exactOptional(v.strictObject({ machineId, why: optionalText })),
      because: v.array(
        v.variant("type", [
          v.strictObject({ type: v.literal("machine-id"), required: text }),
          v.strictObject({ type: v.literal("peer"), peer: text }),
          v.strictObject({ type: v.literal("metadata"), requirement: text }),
          v.strictObject({ type: v.literal("only") }),
          v.strictObject({ type: v.literal("rank"), of: number }),
        ]),
      ),
    }),
  ),
  history: v.array(
    v.strictObject({
      machine: text,
      fromMs: number,
      untilMs: optionalNumber,
      why: optionalText,
      attempt: optionalText,
    }),
  ),
  tied: texts,
  blocked: v.array(blockedReason),
  problem: v.exactOptional(unitReason),
  machines: v.array(
    v.strictObject({
      machineId,
      verdict: v.picklist(["here", "possible", "impossible"]),
      reason: v.exactOptional(machineReason),
      units: number,
      stopping: v.exactOptional(v.literal(true)),
    }),
  ),
  remedies: v.array(v.strictObject({ machineId: optionalText, steps: v.array(remedyStep) })),
  notices,
});

const error: Answer<ErrorBody> = v.strictObject({
  error: v.strictObject({
    code: text,
    message: text,
    machineId: optionalText,
    address: optionalText,
  }),
});

const cluster: Answer<ClusterBody> = v.strictObject({
  clusterId: optionalText,
  registry: text,
  singleMachine: flag,
  machineId,
  leader: optionalText,
  notices,
});
const machines: Answer<MachinesBody> = v.strictObject({ machines: v.array(machine), notices });
const units: Answer<UnitsBody> = v.strictObject({
  revision: number,
  units: v.array(unit),
  machines: v.exactOptional(v.array(machine)),
  notices,
});
const manifest: Answer<ManifestBody> = v.strictObject({
  name: text,
  content: text,
  dropIns: v.array(v.strictObject({ name: text, content: text })),
  lenient: v.exactOptional(flag),
});
const applied: Answer<ApplyBody> = v.strictObject({ results: v.array(applyResult) });
const planned: Answer<PlanBody> = v.strictObject({
  revision: number,
  results: v.array(applyResult),
  outlooks: v.array(outlook),
  notices,
});
const rebalanced: Answer<RebalanceBody> = v.strictObject({
  moves: v.array(v.strictObject({ units: texts, from: text, to: text, weight: number })),
  loads: v.array(v.strictObject({ machineId, before: number, after: number })),
  notices,
});
const moved: Answer<MoveBody> = v.strictObject({
  outcome: v.picklist(["moving", "refused", "overtaken", "unheard"]),
});
const operator: Answer<OperatorBody> = v.strictObject({
  cordoned: flag,
  draining: flag,
  metadata: v.record(text, v.nullable(text)),
});
const rejoined: Answer<RejoinBody> = v.strictObject({ units: texts });
const services: Answer<ServicesBody> = v.strictObject({ endpoints, notices });
const links: Answer<LinksBody> = v.strictObject({ links: v.array(link), endpoints, notices });
const histories: Answer<HistoryBody> = v.strictObject({ units: v.array(history) });
const sources: Answer<SourcesBody> = v.strictObject({ sources: v.array(source) });

const alive = v.strictObject({ type: v.literal("alive") });
const watchLine: Answer<WatchLine> = v.variant("type", [
  v.strictObject({ type: v.literal("unit"), unit }),
  v.strictObject({ type: v.literal("gone"), name: text }),
  v.strictObject({ type: v.literal("machines"), present: texts }),
  v.strictObject({ type: v.picklist(["synced", "notices"]), notices }),
  alive,
]);
const servicesLine: Answer<ServicesLine> = v.variant("type", [
  v.strictObject({ type: v.literal("services"), service: optionalText, endpoints }),
  alive,
]);
const watchEvent: Answer<WatchEvent> = v.variant("type", [
  v.strictObject({
    type: v.picklist(["snapshot", "change"]),
    why: v.exactOptional(v.picklist(["start", "too-old"])),
    revision: number,
    gone: texts,
    units: v.exactOptional(v.array(unit)),
    machines: v.exactOptional(v.array(machine)),
    services: v.exactOptional(endpoints),
  }),
  v.strictObject({ type: v.literal("notices"), notices }),
]);
const journalLine = v.looseObject({
  end: v.exactOptional(v.strictObject({ exitStatus: number })),
});

/** By the names that they have in the document. Parts are listed so that the document names them instead of repeating them. */
export const ANSWERS = {
  ...{ Notice: notice, Reason: reason, MachineReason: machineReason, Unit: unit },
  ...{ Machine: machine, Endpoint: endpoint, ApplyResult: applyResult, Source: source },
  ...{ Error: error, Cluster: cluster, Machines: machines, Units: units, Manifest: manifest },
  ...{ Applied: applied, Planned: planned, Rebalanced: rebalanced, Moved: moved },
  ...{ Operator: operator, Rejoined: rejoined, Services: services, Links: links },
  ...{ Histories: histories, Sources: sources, Explanation: explain },
  ...{
    WatchLine: watchLine,
    WatchEvent: watchEvent,
    ServicesLine: servicesLine,
    JournalLine: journalLine,
  },
} as const;
export type AnswerName = keyof typeof ANSWERS;
