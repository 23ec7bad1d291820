import { validateUnitName } from "../units/unit-name.ts";
import { IGNORE_FILE, type TreeProblem } from "./tree.ts";

/** What a path stands for by its name alone. */
export type PathKind =
  | { readonly type: "unit"; readonly unit: string; readonly folder: string }
  | {
      readonly type: "drop-in";
      readonly unit: string;
      readonly name: string;
      readonly folder: string;
    }
  | { readonly type: "ignore-file"; readonly folder: string };

/** Undefined for what has nothing to do with units: a README, scripts, what lies in hidden folders. */
export function pathKind(path: string): PathKind | undefined {
  const parts = path.split("/");
  const name = parts.at(-1) ?? "";
  const folders = parts.slice(0, -1);
  if (folders.some((part) => part.startsWith("."))) return undefined;
  const folder = folders.join("/");
  if (name === IGNORE_FILE) return { type: "ignore-file", folder };
  const parent = folders.at(-1);
  if (parent?.endsWith(".d") && validateUnitName(parent.slice(0, -2)) === undefined) {
    if (name.startsWith(".") || !name.endsWith(".conf")) return undefined;
    return {
      type: "drop-in",
      unit: parent.slice(0, -2),
      name,
      folder: folders.slice(0, -1).join("/"),
    };
  }
  return validateUnitName(name) === undefined ? { type: "unit", unit: name, folder } : undefined;
}

/** A tree comes from elsewhere: a link in it could name any file of the machine that reads it. */
export function linkProblem(path: string): TreeProblem {
  return { path, message: "is a symbolic link: put the file itself there" };
}

/** Text, or why it is none. */
export function decodeText(
  path: string,
  bytes: Uint8Array,
): { readonly content: string } | { readonly problem: TreeProblem } {
  try {
    return { content: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { problem: { path, message: "is not UTF-8" } };
  }
}
