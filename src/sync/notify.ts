import { spawn } from "node:child_process";
import type { Clock } from "../runtime/clock.ts";
import type { SyncOutcome } from "./sync.ts";

/** A command that takes longer is killed: the sync waits for it. */
const NOTIFY_MS = 10_000;
const PROBLEMS_BYTES_MAX = 16_000;

export interface NotifyOptions {
  /** Program and arguments, between blanks; no shell reads it. */
  readonly command: string;
  readonly source: string;
  readonly clock: Clock;
  /** With why the command did not do its work. */
  readonly onFailure: (why: string) => void;
}

/** Tells a command of every outcome that is another than the last. Whatever becomes of the command does not touch the sync. */
export class Notifier {
  readonly #options: NotifyOptions;
  #last = "";

  constructor(options: NotifyOptions) {
    this.#options = options;
  }

  async tell(outcome: SyncOutcome): Promise<void> {
    const environment = describeOutcome(outcome);
    const text = JSON.stringify(environment);
    if (text === this.#last) return;
    this.#last = text;
    const { command, source, onFailure } = this.#options;
    const why = await this.#run({ ...environment, FLEET_SYNC_SOURCE: source });
    if (why !== undefined) onFailure(`${command}: ${why}`);
  }

  async #run(environment: Readonly<Record<string, string>>): Promise<string | undefined> {
    const { command, clock } = this.#options;
    const [program = "", ...args] = command.split(/\s+/).filter((word) => word !== "");
    return await new Promise((resolve) => {
      const child = spawn(program, args, {
        env: { ...process.env, ...environment },
        stdio: "ignore",
        // A group of its own, so that a script ends with what it started.
        detached: true,
      });
      const cancel = clock.setTimer(NOTIFY_MS, () => {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      });
      child.once("error", (error) => {
        cancel();
        resolve(error.message);
      });
      child.once("exit", (code, signal) => {
        cancel();
        resolve(code === 0 ? undefined : `it ended with ${signal ?? `status ${code}`}`);
      });
    });
  }
}

/** `synced` and `unchanged` are both `running`: only the first of several outcomes in a row is told. */
function describeOutcome(outcome: SyncOutcome): Readonly<Record<string, string>> {
  if (outcome.type === "suspended") return { FLEET_SYNC_OUTCOME: "suspended" };
  const { version } = outcome;
  const about = {
    FLEET_SYNC_VERSION: version.id,
    FLEET_SYNC_SUBJECT: version.subject,
    FLEET_SYNC_AUTHOR: version.author,
  };
  if (outcome.type !== "rejected") {
    const word = outcome.type === "planned" ? "drifted" : "running";
    return { ...about, FLEET_SYNC_OUTCOME: word, FLEET_SYNC_PROBLEMS: "" };
  }
  return {
    ...about,
    FLEET_SYNC_OUTCOME: outcome.backTo === undefined ? "rejected" : "rolled-back",
    FLEET_SYNC_PROBLEMS: outcome.problems.join("\n").slice(0, PROBLEMS_BYTES_MAX),
  };
}
