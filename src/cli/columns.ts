import { blockedText, type MachineLegend } from "../cluster/reason-text.ts";
import type { MachineView, UnitStateView, UnitView } from "../cluster/views.ts";
import { FleetError } from "../runtime/errors.ts";
import type { Column } from "./table.ts";

const SHORT_ID_LENGTH = 8;
const SHORT_HASH_LENGTH = 7;

export function machineIdText(id: string, full: boolean): string {
  return full ? id : `${id.slice(0, SHORT_ID_LENGTH)}...`;
}

/** `1234abcd.../10.0.0.1`; without the address for a machine that is not present. */
export function makeLegend(machines: readonly MachineView[], full = false): MachineLegend {
  const addresses = new Map(
    machines.filter(({ present }) => present).map(({ id, address }) => [id, address]),
  );
  return (machineId) => {
    const address = addresses.get(machineId) ?? "";
    return machineIdText(machineId, full) + (address === "" ? "" : `/${address}`);
  };
}

export interface TableOptions {
  readonly full: boolean;
  readonly legend: MachineLegend;
}

export const MACHINE_FIELDS = "machine,ip,metadata";

export function machineColumns({ full }: TableOptions): readonly Column<MachineView>[] {
  return [
    { field: "machine", value: ({ id }) => machineIdText(id, full) },
    { field: "ip", value: ({ address }) => orDash(address) },
    { field: "metadata", value: ({ metadata }) => metadataText(metadata) },
    { field: "state", value: machineStateText },
    { field: "version", value: ({ version }) => orDash(version) },
    { field: "leader", value: ({ leader }) => String(leader) },
    { field: "api", value: ({ api }) => orDash(api ?? "") },
  ];
}

function metadataText(metadata: MachineView["metadata"]): string {
  const pairs = Object.entries(metadata).map(([key, value]) => `${key}=${value}`);
  return orDash(pairs.sort().join(","));
}

function machineStateText(machine: MachineView): string {
  if (!machine.present) return "away";
  const marks = (["leaving", "draining", "cordoned"] as const).filter((mark) => machine[mark]);
  return marks.length === 0 ? "present" : marks.join(",");
}

export const UNIT_FILE_FIELDS = "unit,hash,dstate,state,target";

export function unitFileColumns({ full, legend }: TableOptions): readonly Column<UnitView>[] {
  const target = (unit: UnitView) =>
    unit.global ? "global" : unit.machineId === undefined ? "-" : legend(unit.machineId);
  return [
    { field: "unit", value: ({ name }) => name },
    { field: "hash", value: ({ hash }) => hashText(hash, full) },
    { field: "dstate", value: ({ desired }) => desired },
    { field: "state", value: (unit) => (unit.global ? "-" : orDash(unit.current ?? "")) },
    { field: "target", value: target },
    // fleet's old name for target.
    { field: "tmachine", value: target },
    { field: "global", value: (unit) => String(unit.global) },
    { field: "desc", value: ({ description }) => orDash(description) },
    { field: "reason", value: ({ blocked }) => orDash(blockedText(blocked, legend)) },
  ];
}

/** A unit on one machine, as that machine reports it. */
export interface UnitRow {
  readonly unit: string;
  readonly state: UnitStateView;
}

/** In order of name, then machine id. */
export function unitRows(units: readonly UnitView[]): readonly UnitRow[] {
  return [...units]
    .sort((a, b) => compareText(a.name, b.name))
    .flatMap(({ name, states }) =>
      [...states]
        .sort((a, b) => compareText(a.machineId, b.machineId))
        .map((state) => ({ unit: name, state })),
    );
}

export const UNIT_FIELDS = "unit,machine,active,sub";

export function unitColumns({ full, legend }: TableOptions): readonly Column<UnitRow>[] {
  return [
    { field: "unit", value: ({ unit }) => unit },
    { field: "load", value: ({ state }) => orDash(state.load) },
    { field: "active", value: ({ state }) => orDash(state.active) },
    { field: "sub", value: ({ state }) => orDash(state.sub) },
    { field: "machine", value: ({ state }) => legend(state.machineId) },
    { field: "hash", value: ({ state }) => hashText(state.hash, full) },
    { field: "result", value: ({ state }) => orDash(state.result) },
    { field: "pid", value: ({ state }) => (state.mainPid === 0 ? "-" : String(state.mainPid)) },
    { field: "update", value: ({ state }) => orDash(state.update ?? "") },
    { field: "error", value: ({ state }) => orDash(state.error?.message ?? "") },
  ];
}

/** The columns that `--fields` names, in its order. */
export function chosenColumns<Row>(
  columns: readonly Column<Row>[],
  fields: string,
): readonly Column<Row>[] {
  if (fields === "") throw new FleetError("usage", "Must define output format");
  return fields.split(",").map((field) => {
    const column = columns.find((candidate) => candidate.field === field.trim());
    if (column !== undefined) return column;
    const known = columns.map((candidate) => candidate.field).join(", ");
    throw new FleetError("usage", `Invalid key in output format: "${field}" (there are: ${known})`);
  });
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hashText(hash: string, full: boolean): string {
  return orDash(full ? hash : hash.slice(0, SHORT_HASH_LENGTH));
}

function orDash(text: string): string {
  return text === "" ? "-" : text;
}
