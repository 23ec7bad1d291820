import type { Manifest } from "./manifest.ts";
import { expandNameSpecifiers, plainText } from "./specifiers.ts";
import { optionValues, scanUnitFile, type UnitOption } from "./unit-file.ts";
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

const OPTIONS: Readonly<Record<Relation, readonly [section: string, option: string]>> = {
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
  const options = optionsOf(unitName, manifest);
  return RELATIONS.flatMap((relation) =>
    namesIn(options, unitName, OPTIONS[relation]).map((unit) => ({ relation, unit })),
  );
}

/** Says so of another unit in any way that systemd looks at when it starts this one. Most units do not, and units come by the thousand. */
const NAMES_PARTNERS =
  /^[ \t]*(?:BindsTo|Requires|Requisite|Upholds|Wants|PartOf|After|Service|Sockets|Unit)[ \t]*=/m;
const STARTS_SERVICE: ReadonlySet<string> = new Set(["socket", "timer", "path"]);

/**
 * Units that systemd should know when it starts this one: those its files name, the service of a socket, timer or path, the socket of a service
 * (systemd.unit(5), "Implicit Dependencies" of each type). Most of them exist nowhere.
 */
export function unitPartners(unitName: string, manifest: Manifest): readonly string[] {
  const partners = new Set<string>();
  const { type } = parseUnitName(unitName) ?? {};
  const stem = unitName.slice(0, unitName.lastIndexOf("."));
  if (type === "service") partners.add(`${stem}.socket`);
  if (type !== undefined && STARTS_SERVICE.has(type)) partners.add(`${stem}.service`);
  const texts = [manifest.content, ...manifest.dropIns.map(({ content }) => content)];
  if (texts.some((text) => NAMES_PARTNERS.test(text))) {
    const options = optionsOf(unitName, manifest);
    const named = [
      ...RELATIONS.filter((relation) => relation !== "before" && relation !== "with").map(
        (relation) => OPTIONS[relation],
      ),
      ...ACTIVATION,
    ];
    for (const where of named)
      for (const unit of namesIn(options, unitName, where)) partners.add(unit);
  }
  partners.delete(unitName);
  return [...partners];
}

const ACTIVATION: readonly (readonly [section: string, option: string])[] = [
  ["Service", "Sockets"],
  ["Socket", "Service"],
  ["Timer", "Unit"],
  ["Path", "Unit"],
];

function optionsOf(unitName: string, manifest: Manifest): readonly UnitOption[] {
  const texts = [manifest.content, ...manifest.dropIns.map(({ content }) => content)];
  return texts.flatMap((text) => scanUnitFile(text, unitName).unitFile.options);
}

function namesIn(
  options: readonly UnitOption[],
  unitName: string,
  [section, name]: readonly [section: string, option: string],
): readonly string[] {
  return optionValues(options, { section, name })
    .flatMap((value) => value.split(/\s+/))
    .flatMap((word) => {
      const unit = expandNameSpecifiers(word, unitName);
      return unit === undefined ? [] : [plainText(unit)];
    });
}
