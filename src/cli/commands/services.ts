import type { HandRequest } from "../../api/protocol.ts";
import type { MachineLegend } from "../../cluster/reason-text.ts";
import { FleetError } from "../../runtime/errors.ts";
import { type Endpoint, hostPort, isUsable } from "../../services/endpoint.ts";
import { chosenColumns } from "../columns.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE } from "../exit-code.ts";
import { linkDot, linkMermaid, linkTree, servicesOf } from "../link-graph.ts";
import { type Column, renderTable } from "../table.ts";

export const SERVICES_FIELDS = "service,usable,endpoints,where";
export const SERVICE_FIELDS = "instance,address,health,since,unit,machine";

interface ServiceRow {
  readonly service: string;
  readonly endpoints: readonly Endpoint[];
}

export const services: CommandRun = async (context, _args, options) => {
  const chosen = (legend: MachineLegend) =>
    chosenColumns(serviceColumns(legend), options.fields ?? SERVICES_FIELDS);
  chosen(String);
  const endpoints = await context.client.services(undefined);
  const rows = servicesOf(endpoints).map((service) => ({
    service,
    endpoints: endpoints.filter((endpoint) => endpoint.service === service),
  }));
  await print(context, options, { columns: chosen, rows, json: rows });
  return EXIT_DONE;
};

export const service: CommandRun = async (context, args, options) => {
  const name = args[0] ?? "";
  const chosen = (legend: MachineLegend) =>
    chosenColumns(
      endpointColumns(legend, context.clock.wallMs()),
      options.fields ?? SERVICE_FIELDS,
    );
  chosen(String);
  const endpoints = await context.client.services(name);
  if (endpoints.length === 0) throw new FleetError("not-found", `Service ${name} has no endpoint`);
  await print(context, options, { columns: chosen, rows: endpoints, json: endpoints });
  return EXIT_DONE;
};

/** Who consumes what. */
export const links: CommandRun = async (context, _args, options) => {
  const graph = await context.client.links();
  if (options.output === "json") {
    context.out(JSON.stringify({ links: graph.links, endpoints: graph.endpoints }, undefined, 2));
    return EXIT_DONE;
  }
  const legend = await fetchLegend(context);
  const draw = { dot: linkDot, mermaid: linkMermaid }[options.output ?? ""] ?? linkTree;
  context.write(draw(graph, legend));
  return EXIT_DONE;
};

export const register: CommandRun = async (context, args, options) => {
  const name = parseName(args[0] ?? "");
  await context.client.registerEndpoint(name, parseRequest(args[1] ?? "", options));
  const message = `Registered ${name.service}/${name.instance}`;
  context.tell({ ...name, outcome: "done", message });
  return EXIT_DONE;
};

export const deregister: CommandRun = async (context, args) => {
  const name = parseName(args[0] ?? "");
  await context.client.deregisterEndpoint(name);
  const message = `Deregistered ${name.service}/${name.instance}`;
  context.tell({ ...name, outcome: "done", message });
  return EXIT_DONE;
};

function parseName(text: string): Pick<Endpoint, "service" | "instance"> {
  const [service = "", instance = "", ...rest] = text.split("/");
  if (service === "" || instance === "" || rest.length > 0)
    throw new FleetError("usage", `"${text}" is not of the form SERVICE/INSTANCE`);
  return { service, instance };
}

function parseRequest(text: string, options: CommandOptions): HandRequest {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535)
    throw new FleetError("usage", `"${text}" is not of the form HOST:PORT[/udp]`);
  const { weight, tier } = options;
  return {
    host,
    port,
    protocol: match?.[4] === "udp" ? "udp" : "tcp",
    ...(weight === undefined ? {} : { weight }),
    ...(tier === undefined ? {} : { priority: tier }),
  };
}

function serviceColumns(legend: MachineLegend): readonly Column<ServiceRow>[] {
  const where = ({ endpoints }: ServiceRow) =>
    [...new Set(endpoints.map(({ machine }) => machine))]
      .map((machine) => (machine === undefined ? "outside" : legend(machine)))
      .join(",");
  return [
    { field: "service", value: ({ service: name }) => name },
    { field: "usable", value: ({ endpoints }) => String(endpoints.filter(isUsable).length) },
    { field: "endpoints", value: ({ endpoints }) => String(endpoints.length) },
    { field: "where", value: where },
  ];
}

function endpointColumns(legend: MachineLegend, nowMs: number): readonly Column<Endpoint>[] {
  return [
    { field: "instance", value: ({ instance }) => instance },
    { field: "address", value: (one) => `${hostPort(one)}/${one.protocol}` },
    { field: "health", value: ({ health }) => health },
    { field: "since", value: ({ sinceMs }) => ageText(nowMs - sinceMs) },
    { field: "unit", value: ({ unit }) => unit ?? "-" },
    {
      field: "machine",
      value: ({ machine }) => (machine === undefined ? "outside" : legend(machine)),
    },
    { field: "weight", value: ({ weight }) => String(weight) },
    { field: "priority", value: ({ priority }) => String(priority) },
    { field: "detail", value: ({ detail }) => (detail === "" ? "-" : detail) },
    {
      field: "tags",
      value: ({ tags }) =>
        Object.entries(tags)
          .map(([key, value]) => `${key}=${value}`)
          .sort()
          .join(",") || "-",
    },
  ];
}

/** `5s`, `3m`, `2h`, `4d` ago. Machines' clocks differ: never less than none. */
function ageText(ageMs: number): string {
  const seconds = Math.max(0, Math.round(ageMs / 1_000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

async function print<Row>(
  context: Context,
  options: CommandOptions,
  shown: {
    readonly columns: (legend: MachineLegend) => readonly Column<Row>[];
    readonly rows: readonly Row[];
    readonly json: unknown;
  },
): Promise<void> {
  if (options.output === "json") {
    context.out(JSON.stringify(shown.json, undefined, 2));
    return;
  }
  const { good, bad } = context.paint;
  const style = (text: string, field: string) => {
    if (field !== "health") return text;
    return text === "failing" ? bad(text) : text === "passing" ? good(text) : text;
  };
  const columns = shown.columns(await fetchLegend(context));
  context.write(renderTable(columns, shown.rows, { legend: options.legend !== false, style }));
}
