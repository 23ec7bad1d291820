import { FleetError } from "../../runtime/errors.ts";
import type { Manifest } from "../../units/manifest.ts";
import { validateManifest } from "../../units/manifest.ts";
import { problemText, type UnitProblem } from "../../units/unit-problem.ts";
import type { CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, worstExit } from "../exit-code.ts";
import { sourcesOf } from "../source-arguments.ts";
import { analyzeUnits } from "../systemd-analyze.ts";
import type { UnitSource } from "../unit-source.ts";

interface Verified {
  readonly name: string;
  readonly path: string;
  readonly manifest: Manifest;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** What submit would say of files, all of it at once, and what systemd says of them. No daemon is asked. */
export const verify: CommandRun = async (context, args, options) => {
  if (args.length === 0) throw new FleetError("usage", "say which files");
  const sources = await sourcesOf(context, args, { ...options, templates: true });
  const missing = sources.filter(
    ({ own, template }) => own === undefined && template === undefined,
  );
  for (const { name, path } of missing) {
    context.tell({ unit: name, outcome: "not-found", message: `${path}: there is no such file` });
  }
  const units = sources.flatMap((source) => verified(source) ?? []);
  const { byUnit, isThere } = await analyzeUnits(units, context.signal);
  const exits = units.map((unit) => {
    const systemd = byUnit.get(unit.name) ?? [];
    const isBad = unit.errors.length > 0 || (options.strict === true && systemd.length > 0);
    report(context, unit, { systemd, isBad });
    return isBad ? EXIT_USAGE : EXIT_DONE;
  });
  if (!isThere && units.length > 0) {
    context.err("systemd-analyze is not here: systemd was not asked what it thinks of the options");
  }
  return worstExit([...exits, ...missing.map(() => EXIT_NOT_FOUND)]);
};

function verified({ name, path: ownPath, own, template }: UnitSource): Verified | undefined {
  const manifest = own ?? template?.manifest;
  if (manifest === undefined) return undefined;
  const path = own === undefined ? (template?.path ?? ownPath) : ownPath;
  const text = (problem: UnitProblem) =>
    problemText({ ...problem, file: path + problem.file.slice(name.length) });
  const { errors, warnings } = validateManifest(name, manifest);
  return { name, path, manifest, errors: errors.map(text), warnings: warnings.map(text) };
}

function report(
  context: Context,
  { name, path, errors, warnings }: Verified,
  { systemd, isBad }: { readonly systemd: readonly string[]; readonly isBad: boolean },
): void {
  if (!context.json) {
    for (const text of warnings) context.err(`${text} (passed over)`);
    for (const text of systemd) context.err(`systemd: ${text}`);
  }
  const said = systemd.length + warnings.length;
  const verdict =
    said === 0 ? `${path}: in order` : `${path}: can be submitted, see above for what was noted`;
  const message = errors.length > 0 ? errors.join("\n") : isBad ? `${path}: not in order` : verdict;
  const outcome = isBad ? "refused" : "done";
  context.tell({ unit: name, outcome, message, errors, warnings, systemd });
}
