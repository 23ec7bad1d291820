import { FleetError, isFleetError } from "../../runtime/errors.ts";
import type { CommandSpec } from "../command-spec.ts";
import {
  COMPLETION_SCRIPTS,
  type CompletionKind,
  completionFor,
  fixedWords,
  isShell,
  SHELLS,
} from "../completion.ts";
import { completionOptions, completionWords } from "../completion-words.ts";
import type { CommandRun, Context } from "../context.ts";
import { EXIT_DONE } from "../exit-code.ts";

export const completion: CommandRun = async (context, [shell]) => {
  if (!isShell(shell)) {
    throw new FleetError("usage", `completion ${shell}: expect one of ${SHELLS.join(", ")}`);
  }
  context.write(COMPLETION_SCRIPTS[shell]);
  return EXIT_DONE;
};

/** Candidates for the last word, one per line. Says nothing when the cluster cannot be asked. */
export function completeFrom(specs: readonly CommandSpec[]): CommandRun {
  return async (context, words) => {
    const commands = completionWords(specs);
    const { words: fixed, kind, prefix } = completionFor(words, commands, completionOptions());
    const names = commands.map(({ name }) => name);
    const live = await liveWords(context, kind).catch((error: unknown) => {
      if (!isFleetError(error)) throw error;
      return [];
    });
    for (const word of [...fixed, ...fixedWords(kind, names), ...live]) context.out(prefix + word);
    if (kind === "files" || kind === "units-or-files") context.out(":files");
    return EXIT_DONE;
  };
}

async function liveWords(context: Context, kind: CompletionKind): Promise<readonly string[]> {
  const units = async () => (await context.client.units()).map(({ name }) => name);
  const machines = async () => (await context.client.machines()).map(({ id }) => id);
  switch (kind) {
    case "units":
    case "units-or-files":
      return await units();
    case "machines":
      return await machines();
    case "machines-or-units":
      return [...(await machines()), ...(await units())];
    default:
      return [];
  }
}
