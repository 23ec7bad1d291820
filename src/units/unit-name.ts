/**
 * Names of units (systemd.unit(5)): `prefix.type`, `prefix@.type` (template), `prefix@instance.type`.
 * Client, API, engine and agent all take the types from here.
 */
export type UnitType =
  | "service"
  | "socket"
  | "timer"
  | "path"
  | "mount"
  | "automount"
  | "target"
  | "slice"
  | "swap";

interface TypeRule {
  /** systemd knows templates of this type. */
  readonly template: boolean;
}

const TYPES: Readonly<Record<UnitType, TypeRule>> = {
  service: { template: true },
  socket: { template: true },
  timer: { template: true },
  path: { template: true },
  target: { template: true },
  mount: { template: false },
  automount: { template: false },
  slice: { template: false },
  swap: { template: false },
};

/** Types that a file cannot make: known, so that they get a better answer than a misspelt type. */
const REFUSED_TYPES: ReadonlyMap<string, string> = new Map([
  ["device", "devices come from udev, not from unit files"],
  ["scope", "scopes are made by running programs, not from unit files"],
  ["snapshot", "systemd dropped snapshots in version 228"],
  ["busname", "systemd dropped bus names in version 232"],
]);

export const UNIT_TYPES = Object.keys(TYPES) as readonly UnitType[];

/** systemd's UNIT_NAME_MAX counts the closing zero byte. */
export const UNIT_NAME_BYTES_MAX = 255;

export interface UnitName {
  /** `%n` */
  readonly full: string;
  /** Name without type (`%N`). */
  readonly stem: string;
  /** Up to the first `@` (`%p`). */
  readonly prefix: string;
  /** After the first `@`: empty for a template, undefined without `@` (`%i`). */
  readonly instance: string | undefined;
  /** After the last dot; any text, see isUnitType. */
  readonly type: string;
}

export function isUnitType(text: string): text is UnitType {
  return Object.hasOwn(TYPES, text);
}

/** Takes a name apart without judging it; undefined if it has no dot, so no type. */
export function parseUnitName(name: string): UnitName | undefined {
  const dot = name.lastIndexOf(".");
  if (dot === -1) return undefined;
  const stem = name.slice(0, dot);
  const at = stem.indexOf("@");
  return {
    full: name,
    stem,
    prefix: at === -1 ? stem : stem.slice(0, at),
    instance: at === -1 ? undefined : stem.slice(at + 1),
    type: name.slice(dot + 1),
  };
}

/** What is wrong with a name for a unit (file, template or instance), or undefined if it is valid. */
export function validateUnitName(name: string): string | undefined {
  if (name === "") return "unit name cannot be empty";
  if (Buffer.byteLength(name) > UNIT_NAME_BYTES_MAX) {
    return `unit name exceeds maximum length (${UNIT_NAME_BYTES_MAX})`;
  }
  const parts = parseUnitName(name);
  if (parts === undefined) return 'unit name must contain "."';
  if (parts.type === "") return 'unit name cannot end in "."';
  if (!isUnitType(parts.type)) return typeProblem(parts.type);
  if (parts.instance !== undefined && !TYPES[parts.type].template) {
    return `invalid unit type for template: ".${parts.type}"`;
  }
  const bad = /[^0-9A-Za-z:\-_.\\@]/u.exec(parts.stem);
  if (bad !== null) return `invalid character '${bad[0]}' in unit name`;
  if (parts.stem === "") return `unit name has nothing before ".${parts.type}"`;
  if (parts.prefix === "") return 'unit name cannot start in "@"';
  return undefined;
}

function typeProblem(type: string): string {
  const why = REFUSED_TYPES.get(type);
  return `invalid unit type: ".${type}"${why === undefined ? "" : `: ${why}`}`;
}

/**
 * The unit an argument on the command line means: its last path element, `.service` unless it names a type.
 * A type that cannot be used (`.scope`) is kept too, so that validateUnitName can say why.
 */
export function mangleUnitName(argument: string): string {
  const path = argument.replace(/\/+$/, "");
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "") return "";
  const type = parseUnitName(name)?.type;
  if (type !== undefined && (isUnitType(type) || REFUSED_TYPES.has(type))) return name;
  return `${name}.service`;
}

/** `web@.service` */
export function isTemplate(name: string): boolean {
  return parseUnitName(name)?.instance === "";
}

/** `web@1.service` */
export function isInstance(name: string): boolean {
  const instance = parseUnitName(name)?.instance;
  return instance !== undefined && instance !== "";
}

/** `web@1.service` -> `web@.service`; undefined for anything but an instance. */
export function templateOf(name: string): string | undefined {
  const parts = parseUnitName(name);
  if (parts?.instance === undefined || parts.instance === "") return undefined;
  return `${parts.prefix}@.${parts.type}`;
}

/** `web@.service`, `1` -> `web@1.service`; undefined unless it is a template and the result a valid name. */
export function instanceOf(template: string, instance: string): string | undefined {
  const parts = parseUnitName(template);
  if (parts?.instance !== "" || instance === "") return undefined;
  const name = `${parts.prefix}@${instance}.${parts.type}`;
  return validateUnitName(name) === undefined ? name : undefined;
}
