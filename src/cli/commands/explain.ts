import type { ExplainBody } from "../../api/protocol.ts";
import type { MachineLegend } from "../../cluster/reason-text.ts";
import { makeLegend } from "../columns.ts";
import type { CommandOptions, CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_NOT_FOUND } from "../exit-code.ts";
import {
  groupColumns,
  groupVerdicts,
  headLines,
  leavingText,
  remedyText,
  timeText,
  verdictColumns,
} from "../explain-text.ts";
import { ApiError } from "../http-client.ts";
import { notFound, reportNotFound } from "../reach.ts";
import { renderTable } from "../table.ts";
import { lookUpUnits } from "../unit-arguments.ts";

/** More machines than that are counted by reason, unless all are asked for. */
const MACHINES_LISTED_MAX = 50;

/** Why units are where they are, or nowhere. */
export const explain: CommandRun = async (context, args, options) => {
  const [{ units, missing }, machines] = await Promise.all([
    lookUpUnits(context, args),
    context.client.machines(),
  ]);
  const legend = makeLegend(machines, options.full === true);
  const bodies: ExplainBody[] = [];
  const gone = [...missing];
  for (const { name } of units) {
    const body = await explained(context, name);
    if (body === undefined) gone.push(name);
    else if (context.json) bodies.push(body);
    else {
      if (bodies.length > 0) context.out("");
      bodies.push(body);
      print(context, options, { body, legend });
    }
  }
  if (context.json) {
    const found = bodies.map(({ notices: _, ...body }) => body);
    context.out(JSON.stringify([...found, ...gone.map(notFound)], undefined, 2));
  } else for (const name of gone) reportNotFound(context, name);
  return gone.length === 0 ? EXIT_DONE : EXIT_NOT_FOUND;
};

async function explained(context: Context, name: string): Promise<ExplainBody | undefined> {
  try {
    return await context.client.explain(name);
  } catch (error) {
    // Destroyed since it was looked up.
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  }
}

function print(
  context: Context,
  options: CommandOptions,
  { body, legend }: { readonly body: ExplainBody; readonly legend: MachineLegend },
): void {
  for (const line of headLines(body, legend)) context.out(line);
  const { machines, remedies, history } = body;
  if (machines.length > 0) {
    context.out("");
    const hasLegend = options.legend !== false;
    const { good, bad } = context.paint;
    const style = (text: string, field: string) =>
      field !== "fits" ? text : text === "no" ? bad(text) : good(text);
    const asTable = { legend: hasLegend, style };
    context.write(
      options.full === true || machines.length <= MACHINES_LISTED_MAX
        ? renderTable(verdictColumns(legend), machines, asTable)
        : renderTable(groupColumns(legend), groupVerdicts(machines, legend), asTable),
    );
    if (options.full !== true && machines.length > MACHINES_LISTED_MAX) {
      context.err(
        `Machines are counted by reason; fleetctl-ts explain --full ${body.name} lists all.`,
      );
    }
  }
  if (remedies.length > 0) {
    context.out("");
    for (const remedy of remedies) context.out(remedyText(remedy, legend));
  }
  if (history.length > 1) {
    context.out("\nIt has been on:");
    for (const { machine, fromMs, untilMs, why } of history) {
      const until = untilMs === undefined ? "" : timeText(untilMs);
      const left = why === undefined ? "" : `, then ${leavingText(why)}`;
      context.out(`  ${legend(machine)} from ${timeText(fromMs)} to ${until || "now"}${left}`);
    }
  }
}
