import type { CommandSpec } from "./command-spec.ts";
import type { CompletionKind, CompletionOption, CompletionWord } from "./completion.ts";
import { commonOptions, GLOBAL_OPTIONS, type OptionSpec } from "./options.ts";

/** Where an option's value says it by its name. */
const KIND_OF_VALUE: Readonly<Record<string, CompletionKind>> = {
  id: "machines",
  machine: "machines",
  unit: "units",
  signal: "signals",
  path: "files",
};
const KIND_OF_ARGUMENT: Readonly<Record<string, CompletionKind>> = {
  unit: "units",
  file: "units-or-files",
  machine: "machines",
  target: "machines-or-units",
  shell: "shells",
  path: "files",
  dir: "files",
};

export function completionWords(commands: readonly CommandSpec[]): readonly CompletionWord[] {
  const words = commands
    .filter(({ hidden }) => hidden !== true)
    .map((spec) => ({
      name: spec.name,
      options: [...(spec.options ?? []), ...commonOptions(spec)]
        .filter(isShown)
        .map(completionOption),
      args: argumentKinds(spec),
    }));
  const other = { options: [], args: ["nothing"] } as const;
  return [...words, { ...other, name: "version" }, { ...other, name: "help", args: ["commands"] }];
}

export function completionOptions(): readonly CompletionOption[] {
  return [...GLOBAL_OPTIONS.filter(isShown), { flags: "-h, --help", description: "" }].map(
    completionOption,
  );
}

function isShown({ hidden }: OptionSpec): boolean {
  return hidden !== true;
}

function completionOption({ flags, choices = [] }: OptionSpec): CompletionOption {
  const value = /<([a-z]+)>/.exec(flags)?.[1];
  return {
    names: flags
      .replace(/[<[].*$/, "")
      .split(",")
      .map((name) => name.trim()),
    takesValue: value !== undefined,
    choices,
    kind: KIND_OF_VALUE[value ?? ""] ?? "nothing",
  };
}

function argumentKinds({ args = "", options = [] }: CommandSpec): readonly CompletionKind[] {
  if (options.some(({ flags }) => flags === "--replace")) return ["units-or-files"];
  const names = [...args.matchAll(/[<[]([a-z]+)/g)].map(([, name]) => name ?? "");
  return names.map((name) => KIND_OF_ARGUMENT[name] ?? "nothing");
}
