import type { IncomingMessage } from "node:http";
import type {
  ActionRequest,
  ApplyBody,
  ApplyRequest,
  ApplyResult,
  ClusterBody,
  ExplainBody,
  HandRequest,
  HistoryBody,
  LinksBody,
  MachinesBody,
  ManifestBody,
  MoveBody,
  MoveRequest,
  Notice,
  OperatorBody,
  OperatorChange,
  PlanBody,
  RebalanceBody,
  RejoinBody,
  RejoinRequest,
  ServicesBody,
  SourceBody,
  SourcesBody,
  UnitChange,
  UnitHistory,
  UnitsBody,
  WatchLine,
} from "../api/protocol.ts";
import type { MachineView, UnitView } from "../cluster/views.ts";
import type { Endpoint } from "../services/endpoint.ts";
import type { JournalQuery } from "../units/journal-query.ts";
import type { HttpCall, HttpClient } from "./http-client.ts";

/** Keeps a request's head well below the 16 KiB that Node's servers accept. */
const QUERY_BYTES_MAX = 4_000;

/** An ExecReload= may take its time. */
const ACTION_MS = 100_000;
const STATUS_MS = 11_000;

/** The daemon reads the whole registry to answer. */
const WHOLE_READ_MS = 65_000;

/** The engine has 10 s to take a move up. */
const MOVE_MS = 15_000;
/** A machine rejoins when it has been detached for its agent_ttl. */
const REJOIN_MS = 600_000;
const WITH_MACHINES = "machines=1";
/** The daemon answers after 20 s when nothing has changed. */
const SOURCE_WAIT_MS = 30_000;

/** The API refuses bodies above 4 MiB. */
const APPLY_BYTES_MAX = 4_000_000;

/** What a large apply request may take on top of the ordinary deadline. */
const APPLY_MS_PER_CHANGE = 20;

/** The calls of /fleet/v2 (src/api/protocol.ts). */
export class FleetClient {
  readonly #http: HttpClient;
  readonly #onNotices: (notices: readonly Notice[]) => void;
  #machines: Promise<readonly MachineView[]> | undefined;

  constructor(http: HttpClient, onNotices: (notices: readonly Notice[]) => void) {
    this.#http = http;
    this.#onNotices = onNotices;
  }

  cluster(): Promise<ClusterBody> {
    return this.#http.json({ method: "GET", path: "/fleet/v2/cluster" });
  }

  /** Asked for once per command. */
  machines(): Promise<readonly MachineView[]> {
    this.#machines ??= this.#http
      .json<MachinesBody>({ method: "GET", path: "/fleet/v2/machines" })
      .then(({ machines, notices }) => {
        this.#onNotices(notices);
        return machines;
      });
    return this.#machines;
  }

  /** As of now. */
  machinesNow(): Promise<readonly MachineView[]> {
    this.#machines = undefined;
    return this.machines();
  }

  /** Every unit, in order of name. `patient`: for whoever can wait for thousands of them. `machines`: see unitsNamed. */
  async units({ patient = false, machines = false } = {}): Promise<readonly UnitView[]> {
    const query = machines ? `?${WITH_MACHINES}` : "";
    return this.#units(`/fleet/v2/units${query}`, patient ? WHOLE_READ_MS : 0);
  }

  /** Those of `names` that exist. `machines`: so that asking for the machines afterwards is no request of its own. */
  async unitsNamed(
    names: readonly string[],
    { machines = false } = {},
  ): Promise<ReadonlyMap<string, UnitView>> {
    const found = await Promise.all(
      queries(names).map((query, index) =>
        this.#units(
          `/fleet/v2/units?${query}${machines && index === 0 ? `&${WITH_MACHINES}` : ""}`,
        ),
      ),
    );
    return new Map(found.flat().map((unit) => [unit.name, unit]));
  }

  async #units(path: string, deadlineMs = 0): Promise<readonly UnitView[]> {
    const call = { method: "GET", path, deadlineMs } as const;
    const { units, machines, notices } = await this.#http.json<UnitsBody>(call);
    if (machines !== undefined) this.#machines ??= Promise.resolve(machines);
    this.#onNotices(notices);
    return units;
  }

  manifest(name: string): Promise<ManifestBody> {
    return this.#http.json({ method: "GET", path: `${unitPath(name)}/manifest` });
  }

  /** One request, however many changes, as long as the API takes it (applyRequests). Results in the order of the changes. */
  async apply(changes: readonly UnitChange[]): Promise<readonly ApplyResult[]> {
    const all: ApplyResult[] = [];
    for (const body of applyRequests(changes)) {
      const { results } = await this.#http.json<ApplyBody>({
        method: "POST",
        path: "/fleet/v2/apply",
        body,
        deadlineMs: 3_000 + APPLY_MS_PER_CHANGE * body.changes.length,
      });
      all.push(...results);
    }
    return all;
  }

  async *watch(units: readonly string[], signal: AbortSignal): AsyncGenerator<WatchLine, void> {
    const call = { method: "POST", path: "/fleet/v2/watch", body: { units }, signal } as const;
    for await (const line of this.#http.lines<WatchLine>(call)) {
      if ("notices" in line) this.#onNotices(line.notices);
      yield line;
    }
  }

  /** Of every unit, also of those that come, and of the presence of machines. */
  watchAll(signal: AbortSignal): AsyncIterable<WatchLine> {
    return this.#http.lines({
      method: "POST",
      path: "/fleet/v2/watch",
      body: { all: true },
      signal,
    });
  }

  /** `systemctl status` on one machine; its exit status is in the header `fleet-exit-status`. */
  status(name: string, machine: string): Promise<IncomingMessage> {
    const path = `${unitPath(name)}/status?${new URLSearchParams({ machine })}`;
    return this.#http.stream({ method: "GET", path, deadlineMs: STATUS_MS });
  }

  /** Lines of one machine's journal: entries in JSON, empty ones as signs of life, what journalctl says, JournalEnd. */
  journal(machine: string, query: JournalQuery, signal: AbortSignal): AsyncIterable<string> {
    const { units, lines, follow, afterCursor, fields, since, until, priority, grep } = query;
    const parameters = new URLSearchParams(units.map((unit) => ["unit", unit]));
    const given = {
      ...{ machine, lines: String(lines), follow: follow ? "1" : "0" },
      ...{ since, until, priority, grep, after: afterCursor, fields: fields?.join(",") },
    };
    for (const [name, value] of Object.entries(given)) {
      if (value !== undefined) parameters.set(name, value);
    }
    const path = `/fleet/v2/journal?${parameters}`;
    return this.#http.textLines({ method: "GET", path, signal });
  }

  /** Where units were placed; of all units without names. */
  async history(names: readonly string[]): Promise<readonly UnitHistory[]> {
    const asked = names.length === 0 ? [""] : queries(names);
    const bodies = await Promise.all(
      asked.map((query) =>
        this.#http.json<HistoryBody>({ method: "GET", path: `/fleet/v2/history?${query}` }),
      ),
    );
    return bodies.flatMap(({ units }) => units);
  }

  /** Done at once by the machine that has the unit. */
  async act(name: string, machine: string, action: ActionRequest): Promise<void> {
    const response = await this.#http.stream({
      method: "POST",
      path: `${unitPath(name)}/act?${new URLSearchParams({ machine })}`,
      body: action,
      deadlineMs: ACTION_MS,
    });
    response.resume();
  }

  rejoin(mode: RejoinRequest["mode"]): Promise<RejoinBody> {
    const call = { method: "POST", path: "/fleet/v2/rejoin", deadlineMs: REJOIN_MS } as const;
    return this.#http.json({ ...call, body: { mode } });
  }

  /** Endpoints of one service, or of all, in order. */
  async services(name: string | undefined): Promise<readonly Endpoint[]> {
    const below = name === undefined ? "" : `/${encodeURIComponent(name)}`;
    const path = `/fleet/v2/services${below}`;
    const { endpoints, notices } = await this.#http.json<ServicesBody>({ method: "GET", path });
    this.#onNotices(notices);
    return endpoints;
  }

  async links(): Promise<LinksBody> {
    const body = await this.#http.json<LinksBody>({ method: "GET", path: "/fleet/v2/links" });
    this.#onNotices(body.notices);
    return body;
  }

  async registerEndpoint(
    name: Pick<Endpoint, "service" | "instance">,
    body: HandRequest,
  ): Promise<void> {
    const path = `${endpointPath(name)}/register`;
    (await this.#http.stream({ method: "POST", path, body })).resume();
  }

  async deregisterEndpoint(name: Pick<Endpoint, "service" | "instance">): Promise<void> {
    const path = `${endpointPath(name)}/deregister`;
    (await this.#http.stream({ method: "POST", path })).resume();
  }

  async forget(machineId: string): Promise<void> {
    const path = `/fleet/v2/machines/${encodeURIComponent(machineId)}/forget`;
    const response = await this.#http.stream({ method: "POST", path });
    response.resume();
  }

  async sources(): Promise<readonly SourceBody[]> {
    return (await this.#http.json<SourcesBody>({ method: "GET", path: "/fleet/v2/sources" }))
      .sources;
  }

  /** Throws ApiError 404 where there is none. */
  source(name: string): Promise<SourceBody> {
    return this.#http.json({ method: "GET", path: sourcePath(name) });
  }

  /** Resolves once the record is another than that of `revision`, or after a while. */
  async sourceChanged(name: string, revision: number, signal: AbortSignal): Promise<void> {
    const path = `${sourcePath(name)}?after=${revision}`;
    const call = { method: "GET", path, signal, deadlineMs: SOURCE_WAIT_MS } as const;
    (await this.#http.stream(call)).resume();
  }

  /** Throws ApiError 409 when the revision is not the newest. */
  putSource(source: SourceBody): Promise<SourceBody> {
    return this.#http.json({ method: "PUT", path: sourcePath(source.name), body: source });
  }

  explain(name: string): Promise<ExplainBody> {
    const path = `${unitPath(name)}/explain`;
    return this.#noticed({ method: "GET", path, deadlineMs: WHOLE_READ_MS });
  }

  /** What `apply` would do. */
  plan(changes: readonly UnitChange[]): Promise<PlanBody> {
    const body: ApplyRequest = { changes };
    return this.#noticed({
      method: "POST",
      path: "/fleet/v2/plan",
      body,
      deadlineMs: WHOLE_READ_MS,
    });
  }

  async #noticed<T extends { readonly notices: readonly Notice[] }>(call: HttpCall): Promise<T> {
    const body = await this.#http.json<T>(call);
    this.#onNotices(body.notices);
    return body;
  }

  /** What would bring the loads of machines together. */
  rebalance(movesMax: number | undefined): Promise<RebalanceBody> {
    const query = movesMax === undefined ? "" : `?max-moves=${movesMax}`;
    const path = `/fleet/v2/rebalance${query}`;
    return this.#noticed({ method: "GET", path, deadlineMs: WHOLE_READ_MS });
  }

  /** Resolves when the engine has begun, or will not. */
  async move(request: MoveRequest): Promise<MoveBody["outcome"]> {
    const path = "/fleet/v2/moves";
    const call = { method: "POST", path, body: request, deadlineMs: MOVE_MS } as const;
    return (await this.#http.json<MoveBody>(call)).outcome;
  }

  /** Cordon, drain intent, metadata, confirmed loss: what is left out of `change` stays. */
  changeOperator(machineId: string, change: OperatorChange): Promise<OperatorBody> {
    const path = `/fleet/v2/machines/${encodeURIComponent(machineId)}/operator`;
    return this.#http.json({ method: "POST", path, body: change });
  }
}

/** None without changes. More than one: only each by itself is done wholly or not at all. */
export function applyRequests(changes: readonly UnitChange[]): readonly ApplyRequest[] {
  const requests: { changes: UnitChange[] }[] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const change of changes) {
    const more = Buffer.byteLength(JSON.stringify(change)) + 1;
    if (bytes + more > APPLY_BYTES_MAX) {
      requests.push({ changes: [] });
      bytes = 0;
    }
    requests.at(-1)?.changes.push(change);
    bytes += more;
  }
  return requests;
}

function endpointPath({ service, instance }: Pick<Endpoint, "service" | "instance">): string {
  return `/fleet/v2/services/${encodeURIComponent(service)}/${encodeURIComponent(instance)}`;
}

function unitPath(name: string): string {
  return `/fleet/v2/units/${encodeURIComponent(name)}`;
}

function queries(names: readonly string[]): readonly string[] {
  const result: string[] = [];
  let query = "";
  for (const name of names) {
    const part = `unit=${encodeURIComponent(name)}`;
    if (query !== "" && query.length + part.length > QUERY_BYTES_MAX) {
      result.push(query);
      query = "";
    }
    query += query === "" ? part : `&${part}`;
  }
  if (query !== "") result.push(query);
  return result;
}

function sourcePath(name: string): string {
  return `/fleet/v2/sources/${encodeURIComponent(name)}`;
}
