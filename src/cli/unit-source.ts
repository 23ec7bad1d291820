import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { DropIn, Manifest } from "../units/manifest.ts";
import { mangleUnitName, templateOf } from "../units/unit-name.ts";

/** A unit as the command line names it, and what lies on disk for it. */
export interface UnitSource {
  readonly name: string;
  /** Where its own file is or would be. */
  readonly path: string;
  readonly own: Manifest | undefined;
  /** For an instance without a file of its own. */
  readonly template: LocalTemplate | undefined;
}

export interface LocalTemplate {
  readonly name: string;
  readonly path: string;
  /** With the drop-ins of the template alone, as the registry has it under the template's name. */
  readonly shared: Manifest;
  /** What the instance is made of: its own drop-ins count besides. */
  readonly manifest: Manifest;
}

/** Sources of all arguments, each unit once, in order. `lenient`: see Manifest. */
export async function readSources(
  args: readonly string[],
  { lenient = false }: { readonly lenient?: boolean | undefined } = {},
): Promise<readonly UnitSource[]> {
  const sources = new Map<string, UnitSource>();
  for (const argument of args) {
    const source = await readSource(argument, lenient);
    if (!sources.has(source.name)) sources.set(source.name, source);
  }
  return [...sources.values()];
}

async function readSource(argument: string, lenient: boolean): Promise<UnitSource> {
  const name = mangleUnitName(argument);
  const path = join(dirname(argument), name);
  const read = async (file: string, ...dropInDirectories: readonly string[]) => {
    const manifest = await readManifest(file, dropInDirectories);
    return manifest && lenient ? { ...manifest, lenient } : manifest;
  };
  const templateName = templateOf(name);
  if (templateName === undefined) {
    return { name, path, own: await read(path, `${path}.d`), template: undefined };
  }
  const templatePath = join(dirname(argument), templateName);
  // As systemd does it: an instance's drop-ins count besides those of its template, whichever file it has.
  const own = await read(path, `${templatePath}.d`, `${path}.d`);
  if (own !== undefined) return { name, path, own, template: undefined };
  const shared = await read(templatePath, `${templatePath}.d`);
  const manifest = await read(templatePath, `${templatePath}.d`, `${path}.d`);
  const template = shared &&
    manifest && { name: templateName, path: templatePath, shared, manifest };
  return { name, path, own, template };
}

/** Later directories win where two drop-ins have one name. */
async function readManifest(
  path: string,
  dropInDirectories: readonly string[],
): Promise<Manifest | undefined> {
  const content = await readText(path);
  if (content === undefined) return undefined;
  const dropIns = new Map<string, DropIn>();
  for (const directory of dropInDirectories) {
    for (const name of await listDropIns(directory)) {
      const text = await readText(join(directory, name));
      if (text !== undefined) dropIns.set(name, { name, content: text });
    }
  }
  return {
    content,
    dropIns: [...dropIns.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

async function listDropIns(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).filter((name) => name.endsWith(".conf"));
  } catch (error) {
    if (isAbsent(error)) return [];
    throw unreadable(directory, error);
  }
}

/** Undefined without such a file. Text that is not UTF-8 is refused: it would not come back byte for byte. */
async function readText(path: string): Promise<string | undefined> {
  try {
    const bytes = await readFile(path);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw unreadable(path, error);
  }
}

function isAbsent(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return ["ENOENT", "ENOTDIR", "ENAMETOOLONG"].includes(String(error.code));
}

function unreadable(path: string, error: unknown): FleetError {
  return new FleetError("host-io", `cannot read ${path}: ${errorMessage(error)}`, { cause: error });
}
