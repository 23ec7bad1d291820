import type { Lab } from "../support/lab.ts";

/** From the end of a machine's daemon to the moment at which the next one held the machine's lease. */
export interface Absence {
  readonly machine: number;
  readonly fromMs: number;
  untilMs: number;
  /** The fence fell meanwhile. */
  fenceFell: boolean;
}

/** Read from the journals of all machines, all boots. */
export async function absences(lab: Lab): Promise<readonly Absence[]> {
  const found: Absence[] = [];
  for (const machine of lab.machines) {
    const units = ["-u", "fleetd-ts", "-u", "fleet-fence-*"];
    const journal = await lab.journal(machine, "-o", "json", "--output-fields=MESSAGE", ...units);
    let now: Absence | undefined;
    for (const line of journal.split("\n")) {
      const message = /"MESSAGE":"([^"]*)"/.exec(line)?.[1] ?? "";
      const atMs = Number(/"__REALTIME_TIMESTAMP":"(\d+)"/.exec(line)?.[1]) / 1_000;
      if (/^Stopping fleetd-ts|^fleetd-ts\.service: Main process exited/.test(message)) {
        if (now !== undefined) continue;
        now = { machine, fromMs: atMs, untilMs: Number.POSITIVE_INFINITY, fenceFell: false };
        found.push(now);
      } else if (now !== undefined && message.startsWith("Starting fleet-fence-")) {
        now.fenceFell = true;
      } else if (now !== undefined && message.startsWith("status type=attached")) {
        now.untilMs = atMs;
        now = undefined;
      }
    }
  }
  return found;
}
