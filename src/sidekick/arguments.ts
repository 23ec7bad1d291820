import { hostname } from "node:os";
import { FleetError } from "../runtime/errors.ts";
import { type GivenOption, OptionReader, readOptions } from "../runtime/options.ts";
import type { Protocol } from "../services/endpoint.ts";
import { instanceProblem, serviceNameProblem } from "../services/service-name.ts";
import type { Patience } from "./health.ts";
import type { Check } from "./probe.ts";

/** One endpoint to register, as the command line has it. */
export interface EndpointSpec extends Patience {
  readonly service: string;
  readonly instance: string | undefined;
  readonly port: number;
  readonly protocol: Protocol;
  /** Undefined: the machine's address. */
  readonly host: string | undefined;
  readonly check: Check | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly weight: number;
  readonly priority: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly unit: string | undefined;
}

export interface SidekickSpec {
  readonly endpoints: readonly EndpointSpec[];
  readonly drainMs: number;
  readonly socket: string;
}

export const SIDEKICK_USAGE = `Usage: fleet-sidekick --service NAME --port PORT[/udp] [options] [--service NAME --port ...]...

Registers endpoints of services with the machine's fleetd-ts, checks their health, and takes them away when it ends.
Options before the first --service hold for all; those after one for that service.

  --service NAME       lower-case letters, digits, hyphens
  --port PORT[/udp]    where it is reached (TCP unless udp is said)
  --instance NAME      of this endpoint (default: of machine and port); %H is the host name
  --host ADDR|auto     one of this machine's addresses (default auto: the one other machines reach it by)
  --check tcp          connects to the port
  --check http:PATH    asks for PATH; any status below 400 passes
  --check exec:COMMAND runs it by the shell; exit status 0 passes
  --check unit:NAME    the unit is active
  --interval TIME      between checks (500ms; exec and unit: 2s); four times as often while results contradict
  --timeout TIME       of a check (1s; exec and unit: 5s)
  --rise N, --fall N   so many results in a row change the health (2, 2)
  --weight N           share among endpoints of the same priority (100); 0 gets nothing
  --priority N         the lowest with a healthy endpoint gets everything (0)
  --tag KEY=VALUE      any number of times
  --unit NAME          unit behind it, for display (default: that of --check unit:, or the sidekick's own)
  --drain TIME         from being marked as draining to the end, at SIGTERM (5s)
  --socket PATH        of fleetd-ts (/run/fleet-services.sock)
  --version, --help

Examples:
  fleet-sidekick --service db --port 5432 --check tcp
  fleet-sidekick --service web --port 80 --check http:/health --service metrics --port 9100
  fleet-sidekick --check unit:dns.service --service dns --port 53/udp --drain 0s

As a unit: Type=notify, NotifyAccess=all, PartOf= and After= the unit it speaks for, Restart=always (docs/services.md).
Exit status: 0 ended, 1 failed, 2 wrong usage, or refused by fleetd-ts.
`;

const PER_ENDPOINT = [
  "service",
  "port",
  "instance",
  "host",
  "check",
  "interval",
  "timeout",
  "rise",
  "fall",
  "weight",
  "priority",
  "tag",
  "unit",
] as const;
const COMMON = ["drain", "socket"] as const;

/** Throws `usage`. */
export function parseSidekick(args: readonly string[]): SidekickSpec {
  const given = readOptions(args, { values: [...PER_ENDPOINT, ...COMMON], flags: [] });
  const common = new OptionReader(given);
  const groups = splitGroups(given);
  const endpoints = groups.map(parseEndpoint);
  if (endpoints.length === 0) throw new FleetError("usage", "no service is given: --service NAME");
  const named = endpoints.map(
    ({ service, instance, port }) => `${service}/${instance ?? `:${port}`}`,
  );
  const twice = named.find((name, index) => named.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new FleetError("usage", `${twice} is given twice: each needs another --instance`);
  }
  return {
    endpoints,
    drainMs: common.duration("drain", 5_000),
    socket: common.text("socket") ?? "/run/fleet-services.sock",
  };
}

/** Options of each endpoint; those before the first `--service` come first in all of them, so later ones win. */
function splitGroups(given: readonly GivenOption[]): readonly (readonly GivenOption[])[] {
  const defaults: GivenOption[] = [];
  const groups: GivenOption[][] = [];
  for (const option of given) {
    if (option.name === "service") groups.push([...defaults, option]);
    else (groups.at(-1) ?? defaults).push(option);
  }
  return groups;
}

function parseEndpoint(given: readonly GivenOption[]): EndpointSpec {
  const read = new OptionReader(given);
  const service = read.text("service") ?? "";
  const problem = serviceNameProblem(service);
  if (problem !== undefined) throw new FleetError("usage", `--service ${problem}`);
  const { port, protocol } = parsePort(service, read);
  const check = parseCheck(read.text("check"));
  if (protocol === "udp" && (check?.type === "tcp" || check?.type === "http")) {
    throw new FleetError(
      "usage",
      `--check ${check.type} cannot check ${port}/udp: use exec or unit`,
    );
  }
  const isProgram = check?.type === "exec" || check?.type === "unit";
  const host = read.text("host");
  return {
    service,
    instance: parseInstance(read.text("instance")),
    port,
    protocol,
    host: host === "auto" ? undefined : host,
    check,
    intervalMs: read.duration("interval", isProgram ? 2_000 : 500, { minMs: 50 }),
    timeoutMs: read.duration("timeout", isProgram ? 5_000 : 1_000, { minMs: 10 }),
    rise: read.count("rise", 2, { min: 1, max: 1_000 }),
    fall: read.count("fall", 2, { min: 1, max: 1_000 }),
    weight: read.count("weight", 100, { max: 65_535 }),
    priority: read.count("priority", 0, { max: 65_535 }),
    tags: Object.fromEntries(read.all("tag").map(parseTag)),
    unit: read.text("unit") ?? (check?.type === "unit" ? check.unit : undefined),
  };
}

function parsePort(
  service: string,
  read: OptionReader,
): { readonly port: number; readonly protocol: Protocol } {
  const [text, another] = read.all("port");
  if (text === undefined) throw new FleetError("usage", `--service ${service} has no --port`);
  if (another !== undefined) {
    const message = `--service ${service} has two ports: say --service ${service} --instance ... --port ${another} again`;
    throw new FleetError("usage", message);
  }
  const match = /^(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  const port = Number(match?.[1] ?? 0);
  if (port < 1 || port > 65_535)
    throw new FleetError("usage", `--port "${text}" is none: write e.g. 80 or 53/udp`);
  return { port, protocol: match?.[2] === "udp" ? "udp" : "tcp" };
}

function parseInstance(text: string | undefined): string | undefined {
  const instance = text?.replaceAll("%H", hostname());
  const problem = instance === undefined ? undefined : instanceProblem(instance);
  if (problem !== undefined) throw new FleetError("usage", `--instance ${problem}`);
  return instance;
}

function parseCheck(text: string | undefined): Check | undefined {
  if (text === undefined || text === "none") return undefined;
  if (text === "tcp") return { type: "tcp" };
  const [kind = "", rest = ""] = text.split(/:(.*)/s, 2);
  if (kind === "http" && rest.startsWith("/")) return { type: "http", path: rest };
  if (kind === "exec" && rest !== "") return { type: "exec", command: rest };
  if (kind === "unit" && rest !== "") return { type: "unit", unit: rest };
  throw new FleetError(
    "usage",
    `--check "${text}" is none of tcp, http:/PATH, exec:COMMAND, unit:NAME`,
  );
}

function parseTag(text: string): readonly [string, string] {
  const [key = "", value] = text.split(/=(.*)/s, 2);
  if (key === "" || value === undefined)
    throw new FleetError("usage", `--tag "${text}" is not of the form KEY=VALUE`);
  return [key, value];
}
