/**
 * Names of the registry's keys (ARCHITECTURE.md, "Registry"). Unit names and machine ids contain no `/`,
 * so a key splits back into its parts without doubt. One writer per kind of key.
 */
export const DEFAULT_KEY_PREFIX = "/fleet-ts/";

export interface Keys {
  readonly prefix: string;
  readonly clusterId: string;
  readonly clusterFormat: string;
  readonly leader: string;
  unit(unit: string): string;
  file(manifestHash: string): string;
  machine(machineId: string): string;
  roster(machineId: string): string;
  operator(machineId: string): string;
  placement(unit: string): string;
  assignment(machineId: string, unit: string): string;
  assignmentsOf(machineId: string): string;
  state(machineId: string, unit: string): string;
  statesOf(machineId: string): string;
  blocked(unit: string): string;
  history(unit: string): string;
  move(unit: string): string;
  service(service: string, instance: string): string;
  servicesOf(service: string): string;
  link(machineId: string, consumer: string): string;
  linksOf(machineId: string): string;
  source(name: string): string;
  /** The prefix of every key of one kind, with the closing `/`. */
  all(kind: KeyKind): string;
  /** What a key stands for, or undefined for a key that is not one of ours. */
  parse(key: string): ParsedKey | undefined;
}

export type KeyKind =
  | "units"
  | "files"
  | "machines"
  | "roster"
  | "operators"
  | "placements"
  | "assignments"
  | "states"
  | "blocked"
  | "history"
  | "moves"
  | "services"
  | "links"
  | "sources";

export type ParsedKey =
  | { readonly kind: "cluster-id" | "cluster-format" | "leader" }
  | {
      readonly kind: "units" | "placements" | "blocked" | "history" | "moves";
      readonly unit: string;
    }
  | { readonly kind: "files"; readonly manifestHash: string }
  | { readonly kind: "machines" | "roster" | "operators"; readonly machineId: string }
  | { readonly kind: "assignments" | "states"; readonly machineId: string; readonly unit: string }
  | { readonly kind: "services"; readonly service: string; readonly instance: string }
  | { readonly kind: "links"; readonly machineId: string; readonly consumer: string }
  | { readonly kind: "sources"; readonly source: string };

/** `prefix` begins and ends with `/`. */
export function makeKeys(prefix: string = DEFAULT_KEY_PREFIX): Keys {
  return {
    prefix,
    clusterId: `${prefix}cluster/id`,
    clusterFormat: `${prefix}cluster/format`,
    leader: `${prefix}engine/leader`,
    unit: (unit) => `${prefix}units/${unit}`,
    file: (manifestHash) => `${prefix}files/${manifestHash}`,
    machine: (machineId) => `${prefix}machines/${machineId}`,
    roster: (machineId) => `${prefix}roster/${machineId}`,
    operator: (machineId) => `${prefix}operators/${machineId}`,
    placement: (unit) => `${prefix}placements/${unit}`,
    assignment: (machineId, unit) => `${prefix}assignments/${machineId}/${unit}`,
    assignmentsOf: (machineId) => `${prefix}assignments/${machineId}/`,
    state: (machineId, unit) => `${prefix}states/${machineId}/${unit}`,
    statesOf: (machineId) => `${prefix}states/${machineId}/`,
    blocked: (unit) => `${prefix}blocked/${unit}`,
    history: (unit) => `${prefix}history/${unit}`,
    move: (unit) => `${prefix}moves/${unit}`,
    service: (service, instance) => `${prefix}services/${service}/${instance}`,
    servicesOf: (service) => `${prefix}services/${service}/`,
    link: (machineId, consumer) => `${prefix}links/${machineId}/${consumer}`,
    linksOf: (machineId) => `${prefix}links/${machineId}/`,
    source: (name) => `${prefix}sources/${name}`,
    all: (kind) => `${prefix}${kind}/`,
    parse: (key) => (key.startsWith(prefix) ? parseKey(key.slice(prefix.length)) : undefined),
  };
}

function parseKey(path: string): ParsedKey | undefined {
  const [kind, first, second, ...rest] = path.split("/");
  if (kind === undefined || first === undefined || first === "" || rest.length > 0)
    return undefined;
  if (second === undefined) {
    switch (kind) {
      case "cluster":
        return first === "id"
          ? { kind: "cluster-id" }
          : first === "format"
            ? { kind: "cluster-format" }
            : undefined;
      case "engine":
        return first === "leader" ? { kind: "leader" } : undefined;
      case "units":
      case "placements":
      case "blocked":
      case "history":
      case "moves":
        return { kind, unit: first };
      case "files":
        return { kind, manifestHash: first };
      case "machines":
      case "roster":
      case "operators":
        return { kind, machineId: first };
      case "sources":
        return { kind, source: first };
      default:
        return undefined;
    }
  }
  if (second === "") return undefined;
  switch (kind) {
    case "assignments":
    case "states":
      return { kind, machineId: first, unit: second };
    case "services":
      return { kind, service: first, instance: second };
    case "links":
      return { kind, machineId: first, consumer: second };
    default:
      return undefined;
  }
}
