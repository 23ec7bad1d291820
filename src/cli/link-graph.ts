import type { MachineLegend } from "../cluster/reason-text.ts";
import { compareText, type Endpoint, hostPort, type Link } from "../services/endpoint.ts";

/** Who consumes what: consumers, the services they are linked to, and what stands behind those. */
export interface LinkGraph {
  readonly links: readonly Link[];
  readonly endpoints: readonly Endpoint[];
}

/** As a tree per consumer; then the services that nobody is linked to. */
export function linkTree({ links, endpoints }: LinkGraph, legend: MachineLegend): string {
  const lines: string[] = [];
  for (const { consumer, machine, services } of links) {
    lines.push(`${consumer} on ${legend(machine)}`);
    for (const [index, { service, local }] of services.entries()) {
      const last = index === services.length - 1;
      lines.push(`${last ? "└─" : "├─"}${service}${local === "" ? "" : ` at ${local}`}`);
      lines.push(...behind(endpoints, service, legend, last ? "  " : "│ "));
    }
  }
  const linked = new Set(links.flatMap(({ services }) => services.map(({ service }) => service)));
  for (const service of servicesOf(endpoints).filter((name) => !linked.has(name))) {
    lines.push(`${service} (nobody is linked to it)`, ...behind(endpoints, service, legend, ""));
  }
  return lines.map((line) => `${line}\n`).join("");
}

function behind(
  endpoints: readonly Endpoint[],
  service: string,
  legend: MachineLegend,
  indent: string,
): readonly string[] {
  const own = endpoints.filter((endpoint) => endpoint.service === service);
  if (own.length === 0) return [`${indent}└─no endpoint`];
  return own.map((endpoint, index) => {
    const { unit, machine, health } = endpoint;
    const name = unit ?? endpoint.instance;
    const where = machine === undefined ? "outside" : `on ${legend(machine)}`;
    const branch = index === own.length - 1 ? "└─" : "├─";
    return `${indent}${branch}${name} ${where}, ${hostPort(endpoint)} ${health}`;
  });
}

interface Node {
  readonly id: string;
  readonly label: string;
  readonly kind: "unit" | "service";
}

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
}

/** A unit that is both consumer and backend is one node, so that chains of services are seen as such. */
function graphOf({ links, endpoints }: LinkGraph, legend: MachineLegend) {
  const nodes = new Map<string, Node>();
  const edges = new Map<string, Edge>();
  const node = (kind: Node["kind"], key: string, label: string): string => {
    const known = nodes.get(`${kind} ${key}`);
    if (known !== undefined) return known.id;
    const id = `n${nodes.size}`;
    nodes.set(`${kind} ${key}`, { id, label, kind });
    return id;
  };
  const edge = (from: string, to: string, label: string) =>
    void edges.set(`${from} ${to} ${label}`, { from, to, label });
  for (const { consumer, machine, services } of links) {
    const from = node("unit", `${consumer} ${machine}`, `${consumer}\n${legend(machine)}`);
    for (const { service, local } of services) edge(from, node("service", service, service), local);
  }
  for (const endpoint of endpoints) {
    const { service, unit = endpoint.instance, machine, health } = endpoint;
    const where = machine === undefined ? hostPort(endpoint) : legend(machine);
    const to = node("unit", `${unit} ${machine ?? hostPort(endpoint)}`, `${unit}\n${where}`);
    edge(node("service", service, service), to, `${endpoint.port} ${health}`);
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

/** For Graphviz. */
export function linkDot(graph: LinkGraph, legend: MachineLegend): string {
  return drawDot("links", graphOf(graph, legend));
}

export function linkMermaid(graph: LinkGraph, legend: MachineLegend): string {
  return drawMermaid(graphOf(graph, legend));
}

interface Drawn {
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
}

/** Ids may be any texts. */
export function drawDot(name: string, graph: Drawn): string {
  const { nodes, edges } = numbered(graph);
  return [
    `digraph ${name} {`,
    "  rankdir=LR",
    ...nodes.map(({ id, label, kind }) => {
      const shape = kind === "service" ? "ellipse" : "box";
      return `  ${id} [label=${quoted(label, "\\n")} shape=${shape}]`;
    }),
    ...edges.map(({ from, to, label }) => `  ${from} -> ${to} [label=${quoted(label, "\\n")}]`),
    "}\n",
  ].join("\n");
}

export function drawMermaid(graph: Drawn): string {
  const { nodes, edges } = numbered(graph);
  return [
    "flowchart LR",
    ...nodes.map(({ id, label, kind }) => {
      const text = quoted(label, "<br>");
      return `  ${id}${kind === "service" ? `([${text}])` : `[${text}]`}`;
    }),
    ...edges.map(({ from, to, label }) => {
      return `  ${from} -->${label === "" ? "" : `|${quoted(label, "<br>")}|`} ${to}`;
    }),
    "",
  ].join("\n");
}

function numbered({ nodes, edges }: Drawn): Drawn {
  const ids = new Map(nodes.map(({ id }, index) => [id, `n${index}`]));
  const idOf = (id: string) => ids.get(id) ?? id;
  return {
    nodes: nodes.map((node) => ({ ...node, id: idOf(node.id) })),
    edges: edges.map((edge) => ({ ...edge, from: idOf(edge.from), to: idOf(edge.to) })),
  };
}

function quoted(text: string, lineBreak: string): string {
  return `"${text.replaceAll('"', "'").replaceAll("\n", lineBreak)}"`;
}

/** Names, in order, each once. */
export function servicesOf(endpoints: readonly Endpoint[]): readonly string[] {
  return [...new Set(endpoints.map(({ service }) => service))].sort(compareText);
}
