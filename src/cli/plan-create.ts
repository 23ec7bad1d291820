import type { UnitChange } from "../api/protocol.ts";
import { startResult } from "../cluster/start-result.ts";
import type { UnitView } from "../cluster/views.ts";
import { type Manifest, manifestHash, validateManifest } from "../units/manifest.ts";
import { isTemplate, templateOf, validateUnitName } from "../units/unit-name.ts";
import { problemText } from "../units/unit-problem.ts";
import type { DesiredState } from "../units/unit-state.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, worstExit } from "./exit-code.ts";
import type { UnitSource } from "./unit-source.ts";

/**
 * What submit, load and start have to ask of the API: files on disk against units in the registry. Pure. Either the whole
 * command is refused, naming all that is wrong, or all of it is sent.
 */
export interface CreateInput {
  readonly verb: CreateVerb;
  readonly replace: boolean;
  readonly sources: readonly UnitSource[];
  /** Units and templates of the registry, as far as the sources name them. */
  readonly registered: ReadonlyMap<string, UnitView>;
}

export type CreateVerb = "submit" | "load" | "start";

export interface CreatePlan {
  /** Other than done: nothing is sent, `errors` say why. */
  readonly exit: number;
  readonly errors: readonly CreateError[];
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
  readonly changes: readonly UnitChange[];
  /** Hashes of the contents that are sent, or known to be equal to the registry's. Of a submit nobody asks. */
  readonly manifests: ReadonlyMap<string, string>;
}

export interface CreateError {
  readonly unit: string;
  readonly exit: number;
  readonly error: string;
}

export const DESIRED_OF_VERB: Readonly<Record<CreateVerb, DesiredState>> = {
  submit: "inactive",
  load: "loaded",
  start: "launched",
};

/** States a unit may be in for a command to replace its content. */
const REPLACEABLE: Readonly<Record<CreateVerb, readonly DesiredState[]>> = {
  submit: ["inactive"],
  load: ["inactive", "loaded"],
  start: ["inactive", "loaded", "launched"],
};

type UnitPlan =
  | { readonly type: "refused"; readonly exit: number; readonly error: string }
  | {
      readonly type: "planned";
      readonly change?: UnitChange | undefined;
      readonly manifest?: Manifest | undefined;
      readonly warning?: string | undefined;
      readonly note?: string | undefined;
    };

export function planCreate(input: CreateInput): CreatePlan {
  const plans = input.sources.map((source) => ({ source, plan: planUnit(input, source) }));
  const errors: CreateError[] = [];
  const warnings: string[] = [];
  const notes: string[] = [];
  const changes: UnitChange[] = [];
  const manifests = new Map<string, string>();
  let exit = EXIT_DONE;
  for (const { source, plan } of plans) {
    if (plan.type === "refused") {
      errors.push({ unit: source.name, exit: plan.exit, error: plan.error });
      exit = worstExit([exit, plan.exit]);
      continue;
    }
    if (plan.warning !== undefined) warnings.push(plan.warning);
    if (plan.note !== undefined) notes.push(plan.note);
    if (plan.change !== undefined) changes.push(plan.change);
    if (plan.change?.type === "submit" && plan.manifest?.lenient === true) {
      const report = validateManifest(source.name, plan.manifest);
      for (const warning of report.warnings) warnings.push(`WARNING: ${problemText(warning)}`);
    }
    if (plan.manifest !== undefined && input.verb !== "submit") {
      manifests.set(source.name, manifestHash(plan.manifest));
    }
  }
  return { exit, errors, warnings, notes, changes, manifests };
}

function planUnit(input: CreateInput, source: UnitSource): UnitPlan {
  const { verb } = input;
  const problem = validateUnitName(source.name);
  if (problem !== undefined)
    return refused(`Error creating units: ${problem}: ${source.name}`, EXIT_USAGE);
  if (isTemplate(source.name) && verb !== "submit") {
    return refused(`Error ${verb}ing units: cannot activate template "${source.name}"`, EXIT_USAGE);
  }
  const unit = input.registered.get(source.name);
  if (unit === undefined) return planNew(input, source);
  if (verb === "load" && unit.desired === "launched") {
    return refused(`Unit ${source.name} is launched; use stop`);
  }
  return input.replace ? planReplace(input, source, unit) : planKept(input, source, unit);
}

/** Its own file, else the registry's template, else the template on disk. */
function planNew({ verb, registered }: CreateInput, source: UnitSource): UnitPlan {
  const { name, own, template } = source;
  const templateName = templateOf(name);
  const stored = templateName === undefined ? undefined : registered.get(templateName);
  const desired = verb === "submit" ? {} : { desired: DESIRED_OF_VERB[verb] };
  if (own === undefined && stored !== undefined) {
    const shared = template && manifestHash(template.shared);
    const text =
      template !== undefined && shared !== stored.manifest
        ? differsText(stored.name, template.path, true)
        : undefined;
    if (text !== undefined && verb === "submit") return refused(text);
    if (
      template !== undefined &&
      text === undefined &&
      shared !== manifestHash(template.manifest)
    ) {
      // The instance has drop-ins of its own, of which the registry's template knows nothing.
      return submitted({ name, manifest: template.manifest, desired });
    }
    return {
      type: "planned",
      change: { type: "submit", name, ...desired },
      warning: text && `WARNING: ${text}`,
    };
  }
  const manifest = own ?? template?.manifest;
  if (manifest !== undefined) return submitted({ name, manifest, desired });
  const what =
    templateName === undefined
      ? `unable to find Unit(${name})`
      : `failed getting Unit(${name}) from template: unable to find template Unit(${templateName})`;
  return refused(`Error creating units: ${what} in Registry or on filesystem`, EXIT_NOT_FOUND);
}

function submitted(unit: {
  readonly name: string;
  readonly manifest: Manifest;
  readonly desired: { readonly desired?: DesiredState };
}): UnitPlan {
  const { name, manifest, desired } = unit;
  return { type: "planned", change: { type: "submit", name, ...manifest, ...desired }, manifest };
}

/** Without --replace the registry's content stands, whatever is on disk. */
function planKept({ verb }: CreateInput, source: UnitSource, unit: UnitView): UnitPlan {
  const local = source.own ?? source.template?.manifest;
  const differs = local !== undefined && manifestHash(local) !== unit.manifest;
  const text = differs
    ? differsText(source.name, source.template?.path ?? source.path, source.own === undefined)
    : undefined;
  if (verb === "submit") return text === undefined ? { type: "planned" } : refused(text);
  return {
    type: "planned",
    change:
      verb === "start" && hasFailed(unit)
        ? { type: "restart", name: source.name }
        : { type: "desire", name: source.name, desired: DESIRED_OF_VERB[verb] },
    warning: text && `WARNING: ${text}`,
    manifest: differs ? undefined : local,
  };
}

/** It is launched and systemd has given it up: starting it again means another try. A global unit may be well elsewhere. */
function hasFailed({ desired, global, identity, restarts, machineId, states }: UnitView): boolean {
  const state = states.find((one) => one.machineId === machineId);
  return (
    desired === "launched" &&
    !global &&
    state !== undefined &&
    state.identity === identity &&
    state.active === "failed" &&
    startResult(state, restarts) === "failed"
  );
}

function planReplace(
  { verb, registered }: CreateInput,
  source: UnitSource,
  unit: UnitView,
): UnitPlan {
  const { name } = source;
  const local = source.own ?? source.template?.manifest;
  const templateName = templateOf(name);
  const stored = templateName === undefined ? undefined : registered.get(templateName);
  const hash = local === undefined ? stored?.manifest : manifestHash(local);
  if (hash === undefined) {
    return refused(`Error creating units: ${source.path}: no such file or directory`);
  }
  if (hash === unit.manifest) {
    const same = planKept({ verb, replace: false, sources: [], registered }, source, unit);
    return same.type === "refused"
      ? same
      : { ...same, note: `Found same Unit(${name}) in Registry, nothing to do` };
  }
  if (!REPLACEABLE[verb].includes(unit.desired)) {
    return refused(
      `Warning: can not replace Unit(${name}) in state '${unit.desired}', use the appropriate command`,
    );
  }
  const desired = verb === "submit" ? {} : { desired: DESIRED_OF_VERB[verb] };
  return {
    type: "planned",
    change: { type: "submit", name, ...local, ...desired, replace: true },
    manifest: local,
  };
}

function differsText(name: string, path: string, template: boolean): string {
  const kind = template ? "local template unit file" : "local unit file";
  return `Unit ${name} in registry differs from ${kind} ${path}. Add --replace to override.`;
}

function refused(error: string, exit: number = EXIT_FAILED): UnitPlan {
  return { type: "refused", exit, error };
}
