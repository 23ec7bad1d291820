import type { MetadataRequirement } from "./requirements.ts";
import { firstMachineSpecifier, plainText } from "./specifiers.ts";

/**
 * One item of MachineMetadata= or PreferMachineMetadata=: `key=value`, `key!=value`, `key in (a, b)`, `key not in (a, b)`. Takes and
 * gives machine texts (specifiers.ts), but for the key, which is the same on every machine. A text: what is wrong with it.
 */
export function parseMetadata(item: string): MetadataRequirement | string {
  const { key, operator, values } = takeApart(item);
  if (key === "" || values.length === 0 || values.some((value) => value === "")) return FORMS;
  // As in fleet, an equals sign too many is a mistake.
  if (/[=!()]/.test(key) || values.some((value) => value.includes("="))) return FORMS;
  if ([key, ...values].some((text) => text !== text.trim()))
    return 'blanks around "=" or the value';
  const specifier = firstMachineSpecifier(key);
  if (specifier !== undefined) return `${specifier} can only be in the value, not in the key`;
  return { key: plainText(key), operator, values };
}

const FORMS =
  'it has to be key=value, key!=value, key in (a, b) or key not in (a, b) (several on a line: "a=b" "c=d")';

interface Parts {
  readonly key: string;
  readonly operator: MetadataRequirement["operator"];
  readonly values: readonly string[];
}

function takeApart(item: string): Parts {
  const list = /^(?<key>[^=]*?)[ \t]+(?<not>not[ \t]+)?in[ \t]*\((?<values>.*)\)$/.exec(
    item,
  )?.groups;
  if (list !== undefined) {
    return {
      key: list["key"] ?? "",
      operator: list["not"] === undefined ? "in" : "not-in",
      values: (list["values"] ?? "").split(",").map((value) => value.trim()),
    };
  }
  const equals = item.indexOf("=");
  if (equals === -1) return { key: "", operator: "in", values: [] };
  const negated = item[equals - 1] === "!";
  return {
    key: item.slice(0, negated ? equals - 1 : equals),
    operator: negated ? "not-in" : "in",
    values: [item.slice(equals + 1)],
  };
}

/**
 * Items that all have to hold, with those of one key brought together, in order of first mention: of several values that are
 * asked for, one has to be there (as in fleet), and none of those that are excluded.
 */
export function mergeByKey(items: readonly MetadataRequirement[]): readonly MetadataRequirement[] {
  const merged = new Map<string, MetadataRequirement>();
  for (const item of items) {
    const id = `${item.operator} ${item.key}`;
    const values = new Set([...(merged.get(id)?.values ?? []), ...item.values]);
    merged.set(id, { ...item, values: [...values] });
  }
  return [...merged.values()];
}
