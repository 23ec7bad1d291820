import type { IncomingMessage } from "node:http";
import type {
  ApplyBody,
  ApplyRequest,
  ApplyResult,
  ClusterBody,
  HandRequest,
  LinksBody,
  MachinesBody,
  ManifestBody,
  Notice,
  OperatorBody,
  OperatorChange,
  RejoinBody,
  RejoinRequest,
  ServicesBody,
  UnitChange,
  UnitsBody,
  WatchLine,
} from "../api/protocol.ts";
import type { MachineView, UnitView } from "../cluster/views.ts";
import type { Endpoint } from "../services/endpoint.ts";
import type { HttpClient } from "./http-client.ts";

/** Keeps a request's head well below the 16 KiB that Node's servers accept. */
const QUERY_BYTES_MAX = 4_000;

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

  /** Every unit, in order of name. */
  async units(): Promise<readonly UnitView[]> {
    return this.#units("/fleet/v2/units");
  }

  /** Those of `names` that exist. */
  async unitsNamed(names: readonly string[]): Promise<ReadonlyMap<string, UnitView>> {
    const found = await Promise.all(
      queries(names).map((query) => this.#units(`/fleet/v2/units?${query}`)),
    );
    return new Map(found.flat().map((unit) => [unit.name, unit]));
  }

  async #units(path: string): Promise<readonly UnitView[]> {
    const { units, notices } = await this.#http.json<UnitsBody>({ method: "GET", path });
    this.#onNotices(notices);
    return units;
  }

  manifest(name: string): Promise<ManifestBody> {
    return this.#http.json({ method: "GET", path: `${unitPath(name)}/manifest` });
  }

  /** One request, however many changes. Results in the order of the changes. */
  async apply(changes: readonly UnitChange[]): Promise<readonly ApplyResult[]> {
    if (changes.length === 0) return [];
    const body: ApplyRequest = { changes };
    const { results } = await this.#http.json<ApplyBody>({
      method: "POST",
      path: "/fleet/v2/apply",
      body,
      deadlineMs: 3_000 + APPLY_MS_PER_CHANGE * changes.length,
    });
    return results;
  }

  watch(units: readonly string[], signal: AbortSignal): AsyncIterable<WatchLine> {
    return this.#http.lines({ method: "POST", path: "/fleet/v2/watch", body: { units }, signal });
  }

  /** `text`: journal or `systemctl status`, as it comes. */
  text(
    kind: "journal" | "status",
    name: string,
    query: Readonly<Record<string, string>>,
  ): Promise<IncomingMessage> {
    const path = `${unitPath(name)}/${kind}?${new URLSearchParams(query)}`;
    return this.#http.stream({ method: "GET", path });
  }

  rejoin(mode: RejoinRequest["mode"]): Promise<RejoinBody> {
    return this.#http.json({ method: "POST", path: "/fleet/v2/rejoin", body: { mode } });
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

  /** Cordon, drain intent, metadata, confirmed loss: what is left out of `change` stays. */
  changeOperator(machineId: string, change: OperatorChange): Promise<OperatorBody> {
    const path = `/fleet/v2/machines/${encodeURIComponent(machineId)}/operator`;
    return this.#http.json({ method: "POST", path, body: change });
  }
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
