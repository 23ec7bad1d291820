import { constants } from "node:os";
import type { ActionRequest } from "../../api/protocol.ts";
import { FleetError, isFleetError } from "../../runtime/errors.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import { ApiError } from "../http-client.ts";
import { findTargets } from "../journal-targets.ts";
import { reportNotFound } from "../reach.ts";

export const reload: CommandRun = (context, args, options) =>
  act({ context, args, options, action: { action: "reload" }, done: "reloaded" });

export const resetFailed: CommandRun = (context, args, options) =>
  act({ context, args, options, action: { action: "reset-failed" }, done: "reset" });

export const kill: CommandRun = (context, args, options) => {
  const signal = signalNumber(options.signal ?? "SIGTERM");
  return act({ context, args, options, action: { action: "kill", signal }, done: "signalled" });
};

interface Act {
  readonly context: Context;
  readonly args: readonly string[];
  readonly options: CommandOptions;
  readonly action: ActionRequest;
  /** Of the units, when it is. */
  readonly done: string;
}

/** On every machine that has one of the units, at once: nothing of it is recorded. */
async function act(command: Act): Promise<number> {
  const { context, options } = command;
  const [{ units, missing }, legend] = await Promise.all([
    findTargets(context, command.args, options.machine),
    fetchLegend(context),
  ]);
  const absent = [...missing, ...units.filter(({ view }) => view === undefined).map((u) => u.name)];
  for (const name of absent) reportNotFound(context, name);
  const found = units.filter(({ view }) => view !== undefined);
  const exits = await Promise.all(
    found.map(async ({ name, holders }) => {
      if (holders.length === 0) {
        const message = `Unit ${name} is on no machine`;
        context.tell({ unit: name, outcome: "failed", message });
        return [EXIT_FAILED];
      }
      return await Promise.all(
        holders.map(async (machine) => {
          const failure = await actOn(command, { name, machine });
          const outcome = failure === undefined ? "done" : "failed";
          const how = failure === undefined ? command.done : `not ${command.done}`;
          const why = failure === undefined ? "" : `: ${failure}`;
          const message = `Unit ${name} ${how} on ${legend(machine)}${why}`;
          context.tell({ unit: name, machine, outcome, message });
          return failure === undefined ? EXIT_DONE : EXIT_FAILED;
        }),
      );
    }),
  );
  return worstExit([...exits.flat(), absent.length === 0 ? EXIT_DONE : EXIT_NOT_FOUND]);
}

/** Undefined when it is done. */
async function actOn(
  { context, action, options }: Act,
  { name, machine }: { readonly name: string; readonly machine: string },
): Promise<string | undefined> {
  try {
    await context.client.act(name, machine, action);
    return undefined;
  } catch (error) {
    if (!isFleetError(error)) throw error;
    const address = error instanceof ApiError ? (error.body.address ?? "") : "";
    if (!(error instanceof ApiError) || error.body.code !== "no-api-address" || address === "") {
      return error.message;
    }
    const remote = await context.remote();
    const words =
      action.action === "kill" ? ["kill", `--signal=${action.signal}`] : [action.action];
    const command = ["systemctl", ...words, "--", name];
    const process = await remote.run({ address, port: options.sshPort }, command);
    process.output.resume();
    let errors = "";
    for await (const chunk of process.errors) errors += chunk;
    return (await process.exitStatus) === 0 ? undefined : errors.trim();
  }
}

/** `HUP`, `SIGHUP`, `1` */
function signalNumber(text: string): number {
  const upper = text.toUpperCase();
  const name = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  const known = Object.entries(constants.signals).find(([signal]) => signal === name);
  const number = known?.[1] ?? (/^\d{1,2}$/.test(text) ? Number(text) : 0);
  if (number >= 1 && number <= 64) return number;
  throw new FleetError("usage", `--signal ${text}: no such signal (as in: SIGHUP, HUP, 1)`);
}
