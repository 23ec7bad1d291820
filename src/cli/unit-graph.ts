import type { MachineLegend } from "../cluster/reason-text.ts";
import type { UnitView } from "../cluster/views.ts";
import { type Endpoint, hostPort, type Link } from "../services/endpoint.ts";
import { RELATIONS, type Relation, type UnitRelation } from "../units/unit-relations.ts";

/** What is known of the cluster's units and services, to draw what hangs together from. */
export interface UnitGraphFacts {
  readonly units: readonly UnitView[];
  /** By unit; of those whose files were read. */
  readonly relations: ReadonlyMap<string, readonly UnitRelation[]>;
  readonly links: readonly Link[];
  readonly endpoints: readonly Endpoint[];
}

export interface GraphNode {
  /** `unit a.service`, `service db` */
  readonly id: string;
  readonly kind: "unit" | "service";
  readonly name: string;
}

/** From who needs to what is needed. `detail`: where a service is found, or how its endpoint is. */
export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly relations: readonly (Exclude<Relation, "before"> | "uses" | "served-by")[];
  readonly detail: string;
}

export interface UnitGraph {
  readonly root: string;
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

/** What the unit needs, directly or not, and what needs it. Only units of the cluster: what the machine has from elsewhere is left out. */
export function unitGraph(root: string, facts: UnitGraphFacts): UnitGraph {
  const edges = allEdges(facts);
  const start = `unit ${root}`;
  const reached = new Set([...reach(edges, start, "needs"), ...reach(edges, start, "needed")]);
  return {
    root: start,
    nodes: [...reached].map((id) => {
      const kind = id.startsWith("unit ") ? "unit" : "service";
      return { id, kind, name: id.slice(kind.length + 1) };
    }),
    edges: edges.filter(({ from, to }) => reached.has(from) && reached.has(to)),
  };
}

function allEdges({ units, relations, links, endpoints }: UnitGraphFacts): readonly GraphEdge[] {
  const known = new Set(units.map(({ name }) => name));
  const found = new Map<string, GraphEdge>();
  const add = (edge: GraphEdge) => {
    const key = `${edge.from} ${edge.to} ${edge.detail}`;
    const before = found.get(key)?.relations ?? [];
    found.set(key, { ...edge, relations: [...new Set([...before, ...edge.relations])] });
  };
  for (const [name, list] of relations) {
    for (const { relation, unit } of list) {
      if (!known.has(unit) || unit === name) continue;
      const [from, to] = relation === "before" ? [unit, name] : [name, unit];
      const said = relation === "before" ? "after" : relation;
      add({ from: `unit ${from}`, to: `unit ${to}`, relations: [said], detail: "" });
    }
  }
  for (const { consumer, services } of links)
    for (const { service, local } of services) {
      const ends = { from: `unit ${consumer}`, to: `service ${service}` };
      add({ ...ends, relations: ["uses"], detail: local });
    }
  for (const endpoint of endpoints) {
    const { service, unit = endpoint.instance, health } = endpoint;
    const ends = { from: `service ${service}`, to: `unit ${unit}` };
    add({ ...ends, relations: ["served-by"], detail: `${hostPort(endpoint)} ${health}` });
  }
  return [...found.values()];
}

type Direction = "needs" | "needed";

function reach(edges: readonly GraphEdge[], start: string, direction: Direction): Set<string> {
  const reached = new Set([start]);
  for (const id of reached)
    for (const edge of edges) {
      const [here, there] = direction === "needs" ? [edge.from, edge.to] : [edge.to, edge.from];
      if (here === id) reached.add(there);
    }
  return reached;
}

const NEEDS: Readonly<Record<GraphEdge["relations"][number], string>> = {
  "binds-to": "is bound to",
  requires: "requires",
  requisite: "requires running",
  upholds: "upholds",
  wants: "wants",
  "part-of": "is part of",
  after: "is after",
  with: "is on the machine of",
  uses: "uses",
  "served-by": "",
};
const NEEDED: typeof NEEDS = {
  "binds-to": "binds",
  requires: "is required by",
  requisite: "is required running by",
  upholds: "is upheld by",
  wants: "is wanted by",
  "part-of": "has the part",
  after: "is before",
  with: "has on its machine",
  uses: "is used by",
  "served-by": "serves",
};

/** As two trees: what the unit needs, and what needs it. Each unit's own needs are drawn once, and no relation that a stronger one implies. */
export function unitTree(graph: UnitGraph, facts: UnitGraphFacts, legend: MachineLegend): string {
  const unitText = unitTexts(facts, legend);
  const drawing = { graph, text: (id: string) => unitText.get(id) ?? id };
  const needs = branches(drawing, "needs");
  const needed = branches(drawing, "needed");
  const title = needed.length > 0 ? ["needed by"] : [];
  return [drawing.text(graph.root), ...needs, ...title, ...needed]
    .map((line) => `${line}\n`)
    .join("");
}

function unitTexts({ units }: UnitGraphFacts, legend: MachineLegend): ReadonlyMap<string, string> {
  return new Map(
    units.map((unit) => {
      const where = unit.states.map(
        ({ machineId, active }) => `on ${legend(machineId)}, ${active}`,
      );
      const text = where.length === 0 ? "on no machine" : where.join("; ");
      return [`unit ${unit.name}`, `${unit.name} ${text}`];
    }),
  );
}

interface Drawing {
  readonly graph: UnitGraph;
  readonly text: (id: string) => string;
}

function branches({ graph, text }: Drawing, direction: Direction): readonly string[] {
  const lines: string[] = [];
  const drawn = new Set<string>();
  const isNeeds = direction === "needs";
  const strong = graph.edges.filter(({ relations }) => relations.some((one) => one !== "with"));
  const reached = reach(strong, graph.root, direction);
  const draw = (id: string, indent: string, path: readonly string[]) => {
    drawn.add(id);
    const next = graph.edges
      .map((edge) => ({ edge, to: isNeeds ? edge.to : edge.from }))
      .filter(({ edge, to }) => (isNeeds ? edge.from : edge.to) === id && !path.includes(to))
      // Who is on whose machine is to be seen, unless nothing else brings that unit here.
      .filter(({ edge, to }) => strong.includes(edge) || !reached.has(to));
    for (const [index, { edge, to }] of next.entries()) {
      const isLast = index === next.length - 1;
      const again = drawn.has(to) ? " (see above)" : "";
      lines.push(`${indent}${isLast ? "└─" : "├─"}${lineOf(edge, text(to), direction)}${again}`);
      if (again === "") draw(to, `${indent}${isLast ? "  " : "│ "}`, [...path, id]);
    }
  };
  draw(graph.root, "", []);
  return lines;
}

function lineOf({ relations, detail }: GraphEdge, to: string, direction: Direction): string {
  const strongest = [...RELATIONS, ...relations].find((one) => relations.includes(one as never));
  const words = direction === "needs" ? NEEDS : NEEDED;
  const word = words[(strongest ?? "after") as keyof typeof words];
  const where = detail === "" ? "" : strongest === "uses" ? ` at ${detail}` : `, ${detail}`;
  return `${word === "" ? "" : `${word} `}${to}${where}`;
}
