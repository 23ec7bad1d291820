import { blockedPhrase } from "../../cluster/reason-text.ts";
import type { UnitView } from "../../cluster/views.ts";
import { isTemplate } from "../../units/unit-name.ts";
import {
  chosenColumns,
  compareText,
  MACHINE_FIELDS,
  machineColumns,
  machineIdText,
  makeLegend,
  type TableOptions,
  UNIT_FIELDS,
  UNIT_FILE_FIELDS,
  unitColumns,
  unitFileColumns,
  unitRows,
} from "../columns.ts";
import type { CommandOptions, CommandRun, Context } from "../context.ts";
import { EXIT_DONE } from "../exit-code.ts";
import { groupOf } from "../groups.ts";
import { type Column, renderTable } from "../table.ts";

const REASONS_SHOWN_MAX = 10;

export const listMachines: CommandRun = async (context, _args, options) => {
  const columns = machineColumns({ full: options.full === true, legend: String });
  const chosen = chosenColumns(columns, options.fields ?? MACHINE_FIELDS);
  const machines = await context.client.machines();
  const shown = machines.filter(({ present }) => present || options.all === true);
  print(context, options, { columns: chosen, rows: shown, json: shown });
  if (options.legend !== false && options.output !== "json") {
    for (const { id, address, ...marks } of shown) {
      const set = (["leaving", "draining", "cordoned"] as const).filter((mark) => marks[mark]);
      if (set.length === 0) continue;
      context.err(
        `Machine ${machineIdText(id, options.full === true)}/${address} is ${set.join(" and ")}`,
      );
    }
    const { singleMachine, registry } = await context.client.cluster();
    if (singleMachine) context.err(`single machine: ${registry}`);
  }
  return EXIT_DONE;
};

export const listUnits: CommandRun = async (context, _args, options) => {
  // A field that does not exist is a usage error whatever the daemon says.
  chosenColumns(unitColumns(PLAIN), options.fields ?? UNIT_FIELDS);
  const { units, table } = await readUnits(context, options);
  const rows = unitRows(units);
  print(context, options, {
    columns: chosenColumns(unitColumns(table), options.fields ?? UNIT_FIELDS),
    rows,
    json: rows.map(({ unit, state }) => ({ unit, ...state })),
  });
  tellBlocked(context, options, { units, table });
  return EXIT_DONE;
};

export const listUnitFiles: CommandRun = async (context, _args, options) => {
  const fields = options.fields ?? UNIT_FILE_FIELDS;
  chosenColumns(unitFileColumns(PLAIN), fields);
  if (fields.split(",").includes("tmachine")) {
    context.err('WARNING: The "tmachine" field is deprecated. Use "target" instead');
  }
  const { units, table } = await readUnits(context, options);
  const rows = [...units].sort((a, b) => compareText(a.name, b.name));
  print(context, options, {
    columns: chosenColumns(unitFileColumns(table), fields),
    rows,
    json: rows,
  });
  tellBlocked(context, options, { units: rows, table });
  return EXIT_DONE;
};

/** Folders of the trees that syncs follow, and how many of their units are as they should be. */
export const listGroups: CommandRun = async (context, _args, options) => {
  const units = (await context.client.units()).filter(({ name }) => !isTemplate(name));
  const groups = Map.groupBy(
    units.filter(({ source }) => source !== undefined),
    (unit) => `${unit.source?.name}/${groupOf(unit) ?? ""}`,
  );
  const rows = [...groups]
    .sort(([a], [b]) => compareText(a, b))
    .map(([group, members]) => ({
      group: group.endsWith("/") ? group : `${group}/`,
      units: members.length,
      active: members.filter(isActive).length,
      blocked: members.filter(({ blocked }) => blocked.length > 0).length,
    }));
  const columns: readonly Column<(typeof rows)[number]>[] = [
    { field: "group", value: ({ group }) => group },
    { field: "units", value: (row) => String(row.units) },
    { field: "active", value: (row) => String(row.active) },
    { field: "blocked", value: (row) => String(row.blocked) },
  ];
  const chosen = chosenColumns(columns, options.fields ?? GROUP_FIELDS);
  print(context, options, { columns: chosen, rows, json: rows });
  return EXIT_DONE;
};

const GROUP_FIELDS = "group,units,active,blocked";

function isActive({ states }: UnitView): boolean {
  return states.length > 0 && states.every(({ active }) => active === "active");
}

const PLAIN: TableOptions = { full: false, legend: String };

async function readUnits(context: Context, options: CommandOptions) {
  const units = await context.client.units({ machines: true });
  const machines = await context.client.machines();
  const full = options.full === true;
  return { units, table: { full, legend: makeLegend(machines, full) } };
}

function print<Row>(
  context: Context,
  options: CommandOptions,
  shown: {
    readonly columns: readonly Column<Row>[];
    readonly rows: readonly Row[];
    readonly json: unknown;
  },
): void {
  if (options.output === "json") {
    context.out(JSON.stringify(shown.json, undefined, 2));
    return;
  }
  const { good, bad } = context.paint;
  const style = (text: string, field: string) => {
    if (field !== "active") return text;
    return text === "failed" ? bad(text) : text === "active" ? good(text) : text;
  };
  context.write(
    renderTable(shown.columns, shown.rows, { legend: options.legend !== false, style }),
  );
}

/** Units that are nowhere are missing in list-units and say too little in list-unit-files (I6). */
function tellBlocked(
  context: Context,
  options: CommandOptions,
  shown: { readonly units: readonly UnitView[]; readonly table: TableOptions },
): void {
  if (options.legend === false || options.output === "json") return;
  const blocked = shown.units.filter((unit) => unit.blocked.length > 0);
  for (const unit of blocked.slice(0, REASONS_SHOWN_MAX)) {
    context.err(`Unit ${unit.name} ${blockedPhrase(unit.blocked, shown.table.legend)}`);
  }
  const more = blocked.length - REASONS_SHOWN_MAX;
  if (more > 0)
    context.err(`... and ${more} more: fleetctl-ts list-unit-files --fields unit,reason`);
}
