import type { UnitView } from "../../cluster/views.ts";
import { FleetError } from "../../runtime/errors.ts";
import { mangleUnitName } from "../../units/unit-name.ts";
import { type UnitRelation, unitRelations } from "../../units/unit-relations.ts";
import { type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_NOT_FOUND } from "../exit-code.ts";
import { ApiError } from "../http-client.ts";
import { drawDot, drawMermaid } from "../link-graph.ts";
import { reportNotFound } from "../reach.ts";
import { unitGraph, unitTree } from "../unit-graph.ts";

/** With more units, what needs a unit is left out: the files of all would have to be read. */
const UNITS_MAX = 500;
const READS_PARALLEL = 16;

/** What a unit needs and what needs it: relations of unit files, and services from consumer to backend. */
export const graph: CommandRun = async (context, args, options) => {
  const [argument, ...others] = args;
  if (argument === undefined || others.length > 0)
    throw new FleetError("usage", "One unit must be named");
  const root = mangleUnitName(argument);
  const [units, { links, endpoints }, legend] = await Promise.all([
    context.client.units(),
    context.client.links(),
    fetchLegend(context),
  ]);
  if (!units.some(({ name }) => name === root)) {
    reportNotFound(context, root);
    return EXIT_NOT_FOUND;
  }
  const backends = endpoints.flatMap(({ unit }) => unit ?? []);
  const relations = await readRelations(context, units, [root, ...backends]);
  const facts = { units, relations, links, endpoints };
  const drawn = unitGraph(root, facts);
  switch (options.output) {
    case "json":
      context.out(JSON.stringify(drawn, undefined, 2));
      break;
    case "dot":
    case "mermaid": {
      const nodes = drawn.nodes.map(({ id, kind, name }) => {
        const states = units.find((unit) => kind === "unit" && unit.name === name)?.states ?? [];
        const lines = states.map(({ machineId, active }) => `${legend(machineId)} ${active}`);
        return { id, kind, label: [name, ...lines].join("\n") };
      });
      const edges = drawn.edges.map(({ from, to, relations: said, detail }) => {
        const words = said.filter((one) => one !== "uses" && one !== "served-by");
        return { from, to, label: [...words, ...(detail === "" ? [] : [detail])].join("\n") };
      });
      const shape = { nodes, edges };
      context.write(options.output === "dot" ? drawDot("units", shape) : drawMermaid(shape));
      break;
    }
    default:
      context.write(unitTree(drawn, facts, legend));
  }
  return EXIT_DONE;
};

/** Of all units; where those are too many, of what can be reached from `start`. */
async function readRelations(
  context: Context,
  units: readonly UnitView[],
  start: readonly string[],
): Promise<ReadonlyMap<string, readonly UnitRelation[]>> {
  const known = new Set(units.map(({ name }) => name));
  const found = new Map<string, readonly UnitRelation[]>();
  const isAll = known.size <= UNITS_MAX;
  if (!isAll)
    context.err(
      `more than ${UNITS_MAX} units: what needs the unit is shown only as far as it is linked`,
    );
  let wanted = [...(isAll ? known : new Set(start))].filter((name) => known.has(name));
  while (wanted.length > 0) {
    const batch = wanted.slice(0, READS_PARALLEL);
    const read = await Promise.all(batch.map((name) => readOne(context, name)));
    for (const [index, name] of batch.entries()) found.set(name, read[index] ?? []);
    const named = isAll ? [] : read.flat().map(({ unit }) => unit);
    wanted = [...new Set([...wanted.slice(READS_PARALLEL), ...named])].filter(
      (name) => known.has(name) && !found.has(name),
    );
  }
  return found;
}

/** A unit that is destroyed meanwhile has none. */
async function readOne(context: Context, name: string): Promise<readonly UnitRelation[]> {
  try {
    return unitRelations(name, await context.client.manifest(name));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return [];
    throw error;
  }
}
