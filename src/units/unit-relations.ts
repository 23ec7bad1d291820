import type { Manifest } from "./manifest.ts";
import { expandNameSpecifiers, plainText } from "./specifiers.ts";
import { optionValues, scanUnitFile } from "./unit-file.ts";

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
  const texts = [manifest.content, ...manifest.dropIns.map(({ content }) => content)];
  const options = texts.flatMap((text) => scanUnitFile(text, unitName).unitFile.options);
  return RELATIONS.flatMap((relation) => {
    const [section, name] = OPTIONS[relation];
    return optionValues(options, { section, name })
      .flatMap((value) => value.split(/\s+/))
      .flatMap((word) => {
        const unit = expandNameSpecifiers(word, unitName);
        return unit === undefined ? [] : [{ relation, unit: plainText(unit) }];
      });
  });
}
