import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FleetError } from "../runtime/errors.ts";
import { isTemplate, mangleUnitName, validateUnitName } from "../units/unit-name.ts";
import type { CommandOptions, Context } from "./context.ts";
import { expandArguments, isPattern, matchesPattern, standardInput } from "./unit-arguments.ts";
import { readSources, type UnitSource } from "./unit-source.ts";

/**
 * Units that submit, load, start and diff are given: files, names, directories, patterns of both, and with --name a file on standard input.
 * `templates`: whether those of a directory are meant too.
 */
export async function sourcesOf(
  context: Context,
  args: readonly string[],
  options: Pick<CommandOptions, "lenient" | "name"> & { readonly templates: boolean },
): Promise<readonly UnitSource[]> {
  const { name, lenient, templates } = options;
  if (name === undefined) {
    const words = await expandArguments(context, args, isDirectory);
    const found = await Promise.all(words.map((word) => filesOrNames(context, word, templates)));
    return await readSources(found.flat(), { lenient });
  }
  if (args.length !== 1 || args[0] !== "-") {
    throw new FleetError("usage", `--name ${name} names the file on standard input: give - alone`);
  }
  const content = await standardInput(context);
  const unit = mangleUnitName(name);
  const own = { content, dropIns: [], ...(lenient === true ? { lenient } : {}) };
  return [{ name: unit, path: "(standard input)", own, template: undefined }];
}

async function filesOrNames(
  context: Context,
  word: string,
  templates: boolean,
): Promise<readonly string[]> {
  const isMeant = (name: string) =>
    validateUnitName(name) === undefined && (templates || !isTemplate(name));
  if (isPattern(word)) {
    const directory = dirname(word);
    const files = (await namesIn(directory))
      .filter((name) => isMeant(name) && matchesPattern(basename(word), name))
      .map((name) => join(directory, name));
    const units = word.includes("/") ? [] : await context.client.units();
    const names = units.map(({ name }) => name).filter((name) => isMeant(name));
    const found = [...files, ...names.filter((name) => matchesPattern(word, name))];
    if (found.length > 0) return found;
    throw new FleetError("not-found", `neither a file nor a unit matches ${word}`);
  }
  if (/^\s*\[[A-Z]/.test(word)) {
    throw new FleetError("usage", "that looks like a unit file: name its unit with --name");
  }
  if (!(await isDirectory(word))) return [word];
  const names = (await namesIn(word)).filter(isMeant);
  if (names.length > 0) return names.map((name) => join(word, name));
  throw new FleetError("not-found", `there is no unit file in the directory ${word}`);
}

async function isDirectory(word: string): Promise<boolean> {
  return (await stat(word).catch(() => undefined))?.isDirectory() === true;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return (await readdir(directory).catch(() => [])).sort();
}
