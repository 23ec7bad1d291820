import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import type { SourceRecord } from "../../src/registry/source-record.ts";
import type { Lab } from "./lab.ts";

const CLIENT = resolve(import.meta.dirname, "../../src/cli/main.ts");

/** `fleetctl-ts sync --watch` on the host, until it is stopped. */
export class SyncWatch {
  readonly #child: ChildProcess;
  #said = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.#said += chunk.toString("utf8");
      });
    }
  }

  /** Against the daemon of one machine. */
  static async start(lab: Lab, machine: number, ...args: readonly string[]): Promise<SyncWatch> {
    const env = {
      ...process.env,
      FLEETCTL_ENDPOINT: await lab.endpoint(machine),
      XDG_CACHE_HOME: join(lab.dir, "cache"),
    };
    const argv = [CLIENT, "sync", "--watch", ...args];
    return new SyncWatch(spawn(process.execPath, argv, { env, stdio: ["ignore", "pipe", "pipe"] }));
  }

  /** All that it has printed. */
  get said(): string {
    return this.#said;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    await once(this.#child, "exit");
  }
}

/** What the registry has of a source, from the first machine that answers; undefined while none does. */
export async function sourceRecord(lab: Lab, name: string): Promise<SourceRecord | undefined> {
  for (const machine of lab.machines) {
    const body = await lab.api(machine, `/fleet/v2/sources/${name}`).catch(() => undefined);
    if (body !== undefined) return (body as { record: SourceRecord }).record;
  }
  return undefined;
}

/** Waits until the source's record is so. */
export async function untilSource(
  lab: Lab,
  options: {
    readonly name: string;
    readonly what: string;
    readonly until: (record: SourceRecord) => boolean;
    readonly explain?: () => string;
    readonly deadlineMs?: number;
  },
): Promise<SourceRecord> {
  const { name, what, until, explain, deadlineMs = 60_000 } = options;
  const record = await lab.waitFor({
    what: `the source ${name}: ${what}`,
    deadlineMs,
    look: () => sourceRecord(lab, name),
    until: (seen) => seen !== undefined && until(seen),
    ...(explain && { explain: async () => explain() }),
  });
  if (record === undefined) throw new Error(`there is no source ${name}`);
  return record;
}
