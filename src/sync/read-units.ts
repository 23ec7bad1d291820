import ignore, { type Ignore } from "ignore";
import type { Deployment } from "../units/deployment.ts";
import {
  type DropIn,
  type Manifest,
  manifestHash,
  manifestOptions,
  validateManifest,
} from "../units/manifest.ts";
import { instanceOf, isTemplate, templateOf } from "../units/unit-name.ts";
import { unitNamesIn } from "../units/unit-relations.ts";
import type { DesiredState } from "../units/unit-state.ts";
import type { Tree, TreeFile, TreeProblem } from "./tree.ts";
import { pathKind } from "./tree-paths.ts";

/** A unit that a tree asks for. */
export interface TreeUnit {
  readonly name: string;
  /** Its file, or for an instance without one its template's. */
  readonly path: string;
  /** Folder of that file: the unit's group; empty at the top. */
  readonly group: string;
  readonly manifest: Manifest;
  readonly hash: string;
  readonly desired: DesiredState;
  readonly deployment: Deployment;
  /** Units that come before it: its template, After=, Requires= and the like, MachineOf=. */
  readonly after: readonly string[];
}

export interface TreeUnits {
  /** In order of name. */
  readonly units: readonly TreeUnit[];
  /** One is enough for the whole tree to be refused. In order of path. */
  readonly problems: readonly TreeProblem[];
}

interface UnitPaths {
  readonly path: string;
  readonly folder: string;
  readonly content: string;
}

/** What a tree asks for, all of it checked. Pure. */
export function readUnits(tree: Tree): TreeUnits {
  const ignored = ignoredPaths(tree.files);
  const problems = tree.problems.filter(({ path }) => !ignored(path));
  const files = new Map<string, UnitPaths>();
  const dropIns = new Map<string, (DropIn & { readonly path: string })[]>();
  for (const file of tree.files) {
    const kind = pathKind(file.path);
    if (kind === undefined || kind.type === "ignore-file" || ignored(file.path)) continue;
    if (kind.type === "drop-in") {
      const list = dropIns.get(kind.unit) ?? [];
      list.push({ path: file.path, name: kind.name, content: file.content });
      dropIns.set(kind.unit, list);
      continue;
    }
    const other = files.get(kind.unit);
    if (other !== undefined) {
      const message = `is there a second time, at ${other.path}: a cluster has one unit of a name`;
      problems.push({ path: file.path, message });
    } else files.set(kind.unit, { path: file.path, folder: kind.folder, content: file.content });
  }
  const units = new Map<string, TreeUnit>();
  for (const [name, file] of files) addUnit(units, problems, { name, file, dropIns });
  for (const [name, file] of files) {
    if (isTemplate(name)) addInstances(units, problems, { template: name, file, dropIns });
  }
  problems.push(...strayDropIns(dropIns, units));
  return {
    units: [...units.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    problems: problems.sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

interface Source {
  readonly name: string;
  readonly file: UnitPaths;
  readonly dropIns: ReadonlyMap<string, readonly DropIn[]>;
}

function addUnit(units: Map<string, TreeUnit>, problems: TreeProblem[], source: Source): void {
  const { name, file, dropIns } = source;
  // As systemd does it: drop-ins of the template count too, and the instance's own win.
  const template = templateOf(name);
  const merged = new Map<string, DropIn>();
  for (const owner of template === undefined ? [name] : [template, name]) {
    for (const dropIn of dropIns.get(owner) ?? []) {
      merged.set(dropIn.name, { name: dropIn.name, content: dropIn.content });
    }
  }
  const manifest: Manifest = {
    content: file.content,
    dropIns: [...merged.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
  const { errors, deployment, requirements } = validateManifest(name, manifest);
  for (const error of errors) {
    const where = [error.line, error.column].filter((part) => part !== undefined).join(":");
    // A fault of a drop-in names the drop-in, below the folder of the unit.
    const path =
      error.file === name || error.file === ""
        ? file.path
        : [file.folder, error.file].filter((part) => part !== "").join("/");
    const text = where === "" ? error.message : `${where}: ${error.message}`;
    if (!problems.some((known) => known.path === path && known.message === text)) {
      problems.push({ path, message: text });
    }
  }
  units.set(name, {
    name,
    path: file.path,
    group: file.folder,
    manifest,
    hash: manifestHash(manifest),
    // A template never runs by itself.
    desired: isTemplate(name) ? "inactive" : deployment.state,
    deployment,
    // Read when something is to be done: of thousands of units most have not changed.
    get after() {
      const own = template === undefined || template === name ? [] : [template];
      return [...own, ...requirements.machineOf, ...unitsBefore(name, manifest)];
    },
  });
}

const BEFORE = ["After", "Requires", "Requisite", "BindsTo", "Wants"];

function unitsBefore(name: string, manifest: Manifest): readonly string[] {
  const options = manifestOptions(manifest);
  return BEFORE.flatMap((option) => unitNamesIn(options, name, ["Unit", option]));
}

/** Those the template says there are, unless they have files of their own. */
function addInstances(
  units: Map<string, TreeUnit>,
  problems: TreeProblem[],
  options: Omit<Source, "name"> & { readonly template: string },
): void {
  const { template, file, dropIns } = options;
  for (const instance of units.get(template)?.deployment.instances ?? []) {
    const name = instanceOf(template, instance);
    if (name === undefined || units.has(name)) continue;
    addUnit(units, problems, { name, file, dropIns });
  }
}

/** A drop-in without its unit would have no effect, and whoever put it there thinks it has. */
function strayDropIns(
  dropIns: ReadonlyMap<string, readonly { readonly path: string }[]>,
  units: ReadonlyMap<string, TreeUnit>,
): readonly TreeProblem[] {
  const stray: TreeProblem[] = [];
  for (const [unit, list] of dropIns) {
    if (units.has(unit)) continue;
    for (const { path } of list) {
      stray.push({
        path,
        message: `there is no ${unit} in the tree that it could be a drop-in of`,
      });
    }
  }
  return stray;
}

/** By `.fleetignore`, which is written as .gitignore is and counts for its folder and those below it. */
function ignoredPaths(files: readonly TreeFile[]): (path: string) => boolean {
  const rules: { readonly folder: string; readonly rule: Ignore }[] = [];
  for (const { path, content } of files) {
    const kind = pathKind(path);
    if (kind?.type !== "ignore-file") continue;
    rules.push({
      folder: kind.folder === "" ? "" : `${kind.folder}/`,
      rule: ignore().add(content),
    });
  }
  return (path) =>
    rules.some(
      ({ folder, rule }) => path.startsWith(folder) && rule.ignores(path.slice(folder.length)),
    );
}

/** `web/web.service:3:1: ...` */
export function treeProblemText({ path, message }: TreeProblem): string {
  return /^\d+(:\d+)?: /.test(message) ? `${path}:${message}` : `${path}: ${message}`;
}
