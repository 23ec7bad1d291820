import type { Manifest } from "../../units/manifest.ts";
import type { CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import { reportNotFound } from "../reach.ts";
import { unifiedDiff } from "../unified-diff.ts";
import { readSourcesOrSay } from "./create.ts";

/** What --replace would change: units as they are in the registry against files, drop-ins included. 1: some differ. */
export const diff: CommandRun = async (context, args, options) => {
  const sources = await readSourcesOrSay(context, args, { ...options, templates: true });
  if (sources === undefined) return EXIT_FAILED;
  const registered = await context.client.unitsNamed(sources.map(({ name }) => name));
  const exits: number[] = [];
  for (const { name, path, own, template } of sources) {
    const local = own ?? template?.manifest;
    const unit = registered.get(name);
    if (unit === undefined) {
      reportNotFound(context, name);
      exits.push(EXIT_NOT_FOUND);
    } else if (local === undefined) {
      const message = `${path}: there is no such file`;
      context.tell({ unit: name, outcome: "not-found", message });
      exits.push(EXIT_NOT_FOUND);
    } else {
      const stored = await context.client.manifest(name);
      const text = diffOf({ name, path: template?.path ?? path, stored, local });
      if (context.json) {
        const outcome = text === "" ? "done" : "differs";
        context.tell({ unit: name, outcome, message: text });
      } else context.write(coloured(context, text));
      exits.push(text === "" ? EXIT_DONE : EXIT_FAILED);
    }
  }
  return worstExit(exits);
};

function diffOf(options: {
  readonly name: string;
  readonly path: string;
  readonly stored: Manifest;
  readonly local: Manifest;
}): string {
  const { name, path, stored, local } = options;
  const contents = (manifest: Manifest) =>
    new Map(manifest.dropIns.map((dropIn) => [dropIn.name, dropIn.content]));
  const [before, after] = [contents(stored), contents(local)];
  const dropIns = [...new Set([...before.keys(), ...after.keys()])].sort();
  return [
    unifiedDiff({
      ...{ before: stored.content, after: local.content },
      ...{ beforeName: `registry/${name}`, afterName: path },
    }),
    ...dropIns.map((dropIn) =>
      unifiedDiff({
        ...{ before: before.get(dropIn) ?? "", after: after.get(dropIn) ?? "" },
        beforeName: before.has(dropIn) ? `registry/${name}.d/${dropIn}` : "/dev/null",
        afterName: after.has(dropIn) ? `${path}.d/${dropIn}` : "/dev/null",
      }),
    ),
  ].join("");
}

function coloured({ paint }: Context, text: string): string {
  return text
    .split("\n")
    .map((line) => {
      if (line.startsWith("---") || line.startsWith("+++")) return paint.strong(line);
      if (line.startsWith("-")) return paint.bad(line);
      return line.startsWith("+") ? paint.good(line) : line;
    })
    .join("\n");
}
