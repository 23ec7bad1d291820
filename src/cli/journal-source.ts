import { createInterface } from "node:readline";
import type { JournalEnd } from "../api/protocol.ts";
import type { MachineView } from "../cluster/views.ts";
import { FleetError } from "../runtime/errors.ts";
import { type JournalQuery, journalctlArguments } from "../units/journal-query.ts";
import type { Context } from "./context.ts";
import { ApiError } from "./http-client.ts";
import type { JournalEntry } from "./journal-entry.ts";

/** The API says that it is alive every 2 s. */
const SILENCE_MAX_MS = 10_000;

export type JournalEvent =
  | { readonly type: "entry"; readonly entry: JournalEntry }
  /** What journalctl had to say of it. */
  | { readonly type: "text"; readonly text: string };

export interface MachineJournal {
  readonly machine: Pick<MachineView, "id" | "address">;
  readonly query: JournalQuery;
  readonly sshPort: number | undefined;
  readonly sudo: boolean;
}

/**
 * One machine's journal: through the daemons, or by SSH where that machine's does not listen. Ends when journalctl does, or `signal` aborts;
 * throws a FleetError when the machine cannot be asked or the connection is cut.
 */
export async function* readJournal(
  context: Context,
  journal: MachineJournal,
  signal: AbortSignal,
): AsyncGenerator<JournalEvent> {
  try {
    yield* overApi(context, journal, signal);
  } catch (error) {
    const { address } = journal.machine;
    if (!(error instanceof ApiError) || error.body.code !== "no-api-address" || address === "") {
      throw error;
    }
    yield* overSsh(context, journal, signal);
  }
}

async function* overApi(
  context: Context,
  { machine, query }: MachineJournal,
  signal: AbortSignal,
): AsyncGenerator<JournalEvent> {
  const connection = new AbortController();
  const onAbort = () => connection.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  let silent = false;
  const watch = () =>
    context.clock.setTimer(SILENCE_MAX_MS, () => {
      silent = true;
      connection.abort(cut(machine.id, "is silent"));
    });
  let cancel = watch();
  try {
    for await (const line of context.client.journal(machine.id, query, connection.signal)) {
      cancel();
      cancel = watch();
      if (line === "") continue;
      if (!line.startsWith("{")) yield { type: "text", text: line };
      else {
        const entry: JournalEntry & Partial<JournalEnd> = JSON.parse(line);
        if (entry.end !== undefined) return;
        yield { type: "entry", entry };
      }
    }
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
    connection.abort();
  }
  if (signal.aborted) return;
  throw cut(machine.id, silent ? "is silent" : "was cut off");
}

async function* overSsh(
  context: Context,
  { machine, query, sshPort, sudo }: MachineJournal,
  signal: AbortSignal,
): AsyncGenerator<JournalEvent> {
  const remote = await context.remote();
  const { address } = machine;
  const command = [
    ...(sudo ? ["sudo", "-n"] : []),
    "journalctl",
    ...journalctlArguments({ ...query, output: "json" }),
  ];
  const process = await remote.run({ address, port: sshPort }, command);
  const onAbort = () => process.stop();
  signal.addEventListener("abort", onAbort, { once: true });
  let errors = "";
  process.errors.setEncoding("utf8");
  process.errors.on("data", (text: string) => {
    errors = (errors + text).slice(0, 10_000);
  });
  try {
    for await (const line of createInterface({ input: process.output })) {
      if (line.startsWith("{")) yield { type: "entry", entry: JSON.parse(line) };
    }
    const status = await process.exitStatus;
    for (const text of errors.split("\n")) if (text !== "") yield { type: "text", text };
    // A follower ends by itself only when its connection does.
    if (!signal.aborted && (query.follow || status > 1)) throw cut(machine.id, "was cut off");
  } finally {
    signal.removeEventListener("abort", onAbort);
    process.stop();
  }
}

function cut(machineId: string, how: string): FleetError {
  return new FleetError("api-unavailable", `the journal of machine ${machineId} ${how}`, {
    retriable: true,
  });
}
