import { blockedText } from "../../cluster/reason-text.ts";
import { FleetError, isFleetError } from "../../runtime/errors.ts";
import { mangleUnitName } from "../../units/unit-name.ts";
import { type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import { ApiError } from "../http-client.ts";
import { findTargets } from "../journal-targets.ts";
import { reportNotFound } from "../reach.ts";

/** The unit file byte for byte as it was submitted; drop-ins after it, as `systemctl cat` shows them. */
export const cat: CommandRun = async (context, args) => {
  const [argument, ...others] = args;
  if (argument === undefined || others.length > 0) {
    throw new FleetError("usage", "One unit file must be provided");
  }
  const name = mangleUnitName(argument);
  try {
    const manifest = await context.client.manifest(name);
    if (context.json) {
      context.out(JSON.stringify(manifest, undefined, 2));
      return EXIT_DONE;
    }
    context.write(manifest.content);
    for (const dropIn of manifest.dropIns) {
      context.write(`\n# ${name}.d/${dropIn.name}\n${dropIn.content}`);
    }
    return EXIT_DONE;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    reportNotFound(context, name);
    return EXIT_NOT_FOUND;
  }
};

/** `systemctl status` on the machines that hold the units; its exit status becomes the command's. */
export const status: CommandRun = async (context, args, options) => {
  const [{ units, missing }, legend] = await Promise.all([
    findTargets(context, args, options.machine),
    fetchLegend(context),
  ]);
  const exits: number[] = [];
  for (const word of missing) {
    context.tell({ unit: word, outcome: "not-found", message: `No unit matches ${word}.` });
    exits.push(EXIT_NOT_FOUND);
  }
  const asked = units.map(({ name, view, holders }) => ({
    name,
    view,
    holders,
    // All at once: one machine that does not answer holds up nobody.
    answers: holders.map((machine) => askStatus(context, { name, machine, port: options.sshPort })),
  }));
  let printed = 0;
  for (const { name, view, holders, answers } of asked) {
    if (view === undefined) {
      const message = `Unit ${name} does not exist.`;
      context.tell({ unit: name, outcome: "not-found", message });
      exits.push(EXIT_NOT_FOUND);
      continue;
    }
    if (holders.length === 0) {
      const why = view.blocked.length === 0 ? "" : blockedText(view.blocked, legend);
      const message = `Unit ${name} does not appear to be loaded.`;
      const blocked = why === "" ? "" : `\nUnit ${name} cannot be placed: ${why}`;
      context.tell({ unit: name, outcome: "failed", message: message + blocked });
      exits.push(EXIT_FAILED);
    }
    for (const [index, answer] of answers.entries()) {
      const machine = holders[index] ?? "";
      const { text, exit, error } = await answer;
      exits.push(exit);
      if (context.json || error !== undefined) {
        const outcome = exit === EXIT_DONE ? "done" : "failed";
        context.tell({ unit: name, machine, outcome, exit, message: error ?? text });
        continue;
      }
      if (printed > 0) context.out("");
      printed += 1;
      if (holders.length > 1) context.out(context.paint.dim(`${legend(machine)}:`));
      context.write(text);
    }
  }
  return worstExit(exits);
};

interface StatusAnswer {
  readonly text: string;
  readonly exit: number;
  readonly error?: string;
}

/** Through the daemons, or by SSH where that machine's does not listen. */
async function askStatus(
  context: Context,
  asked: { readonly name: string; readonly machine: string; readonly port: number | undefined },
): Promise<StatusAnswer> {
  const { name, machine, port } = asked;
  try {
    const response = await context.client.status(name, machine);
    const exit = Number(response.headers["fleet-exit-status"] ?? EXIT_DONE);
    return { text: await readAll(response), exit };
  } catch (error) {
    if (!isFleetError(error)) throw error;
    const address = error instanceof ApiError ? (error.body.address ?? "") : "";
    if (!(error instanceof ApiError) || error.body.code !== "no-api-address" || address === "") {
      return { text: "", exit: EXIT_FAILED, error: error.message };
    }
    return await overSsh(context, { name, address, port }).catch((failure: unknown) => {
      if (!isFleetError(failure)) throw failure;
      return { text: "", exit: EXIT_FAILED, error: failure.message };
    });
  }
}

async function overSsh(
  context: Context,
  asked: { readonly name: string; readonly address: string; readonly port: number | undefined },
): Promise<StatusAnswer> {
  const { name, address, port } = asked;
  const remote = await context.remote();
  const command = ["systemctl", "status", "-l", "--no-pager", "--", name];
  const process = await remote.run({ address, port }, command);
  const [text, errors, exit] = await Promise.all([
    readAll(process.output),
    readAll(process.errors),
    process.exitStatus,
  ]);
  return { text: text + errors, exit };
}

async function readAll(stream: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) {
      chunks.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk)));
    }
  } catch (error) {
    throw new FleetError("api-unavailable", "the connection was cut", { cause: error });
  }
  return Buffer.concat(chunks).toString();
}
