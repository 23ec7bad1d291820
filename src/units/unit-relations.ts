import { type Manifest, manifestOptions, manifestTexts } from "./manifest.ts";
import { expandNameSpecifiers, plainText } from "./specifiers.ts";
import { optionValues, type UnitOption } from "./unit-file.ts";
import { parseUnitName } from "./unit-name.ts";

/** How one unit stands to another, the strongest first (systemd.unit(5)); `with`: MachineOf=. `before` is `after`, said by the other. */
export const RELATIONS = [
  "binds-to",
  "requires",
  "requisite",
  "upholds",
  "wants",
  "part-of",
  "after",
  "before",
  "with",
] as const;
export type Relation = (typeof RELATIONS)[number];

export interface UnitRelation {
  readonly relation: Relation;
  readonly unit: string;
}

type Where = readonly [section: string, option: string];

const OPTIONS: Readonly<Record<Relation, Where>> = {
  "binds-to": ["Unit", "BindsTo"],
  requires: ["Unit", "Requires"],
  requisite: ["Unit", "Requisite"],
  upholds: ["Unit", "Upholds"],
  wants: ["Unit", "Wants"],
  "part-of": ["Unit", "PartOf"],
  after: ["Unit", "After"],
  before: ["Unit", "Before"],
  with: ["X-Fleet", "MachineOf"],
};

/** What a unit's files say of others, in order of strength; names as systemd and the engine read them. What cannot be read is left out. */
export function unitRelations(unitName: string, manifest: Manifest): readonly UnitRelation[] {
  const options = manifestOptions(manifest);
  return RELATIONS.flatMap((relation) =>
    unitNamesIn(options, unitName, OPTIONS[relation]).map((unit) => ({ relation, unit })),
  );
}

/** Units that these options name, in order. */
export function unitNamesIn(
  options: readonly UnitOption[],
  unitName: string,
  [section, name]: Where,
): readonly string[] {
  return optionValues(options, { section, name })
    .flatMap((value) => value.split(/\s+/))
    .flatMap((word) => {
      const unit = expandNameSpecifiers(word, unitName);
      return unit === undefined ? [] : [plainText(unit)];
    });
}

const STARTS_SERVICE: ReadonlySet<string> = new Set(["socket", "timer", "path"]);

/** Where a unit names those that systemd looks at when it starts it. */
const PARTNER_OPTIONS: readonly Where[] = [
  ...RELATIONS.filter((relation) => relation !== "before" && relation !== "with").map(
    (relation) => OPTIONS[relation],
  ),
  ["Service", "Sockets"],
  ["Socket", "Service"],
  ["Timer", "Unit"],
  ["Path", "Unit"],
];

/** Most units name none, and units come by the thousand. */
const NAMES_PARTNERS = new RegExp(
  `^[ \\t]*(?:${PARTNER_OPTIONS.map(([, option]) => option).join("|")})[ \\t]*=`,
  "m",
);

/**
 * Units that systemd should know when it starts this one: those its files name, the service of a socket, timer or path, the socket of a service
 * (systemd.unit(5), "Implicit Dependencies" of each type). Most of them exist nowhere.
 */
export function unitPartners(unitName: string, manifest: Manifest): readonly string[] {
  const partners = new Set<string>();
  const { type = "", stem = "" } = parseUnitName(unitName) ?? {};
  if (type === "service") partners.add(`${stem}.socket`);
  if (STARTS_SERVICE.has(type)) partners.add(`${stem}.service`);
  if (manifestTexts(manifest).some((text) => NAMES_PARTNERS.test(text))) {
    const options = manifestOptions(manifest);
    for (const where of PARTNER_OPTIONS)
      for (const unit of unitNamesIn(options, unitName, where)) partners.add(unit);
  }
  partners.delete(unitName);
  return [...partners];
}
