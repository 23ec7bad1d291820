import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Clock, sleep } from "../runtime/clock.ts";
import { attempt, readText } from "./dbus-disk.ts";
import {
  isAgainstJobs,
  isNotLoaded,
  MANAGER_INTERFACE,
  MANAGER_PATH,
  type Manager,
} from "./dbus-manager.ts";
import type { Fence } from "./systemd.ts";

export interface DbusFenceOptions {
  readonly manager: Manager;
  readonly clock: Clock;
  /** Below /run: what units that start are checked against, and what ran when the fence fell. */
  readonly directory: string;
}

const TIMERS = "fleet-fence";
const CHECK_FILE = "check";
const UNTIL_FILE = "until";
const FALL_FILE = "fall";
const FALLEN_FILE = "fallen";
/** Units that the check has refused. */
const REFUSED = "refused";
const FALL_RECHECK_MS = 50;
/** Room for the note of one unit: its name has at most 255. */
const NOTE_BYTES = 320;

/** Exit status 1 of an ExecCondition= command: the unit is not started, and has not failed. */
const CHECK_SCRIPT = `# Lets a unit with Fencing=strict start only while its machine's lease is sure to last.
read -r now _ </proc/uptime && read -r until <"\${0%/*}/${UNTIL_FILE}" && [ "\${now%.*}\${now#*.}" -lt "$until" ] && exit 0
: >"\${0%/*}/${REFUSED}/$1"
exit 1
`;
/** A file: in a transient unit's own command a "$" does not survive that systemd reads its units anew. */
const FALL_SCRIPT = `# Notes which of the units are about to be stopped, in room that the file has already: the disk may be full.
# Of an earlier fall that nobody has heard of yet the note stays: nothing has been started since.
grep -q "^ActiveState=[^if]" "\${0%/*}/${FALLEN_FILE}" && exit 0
exec systemctl show --property=Id --property=ActiveState -- "$@" 1<>"\${0%/*}/${FALLEN_FILE}"
`;

/** Section of the drop-in of a fenced unit. The "+" keeps the unit's own sandbox and user from the check. */
export function fenceDropIn(directory: string, token: number): string {
  return [
    "# Fencing=strict (docs/unit-files.md)",
    "[Service]",
    `Environment=FLEET_FENCING_TOKEN=${token}`,
    `ExecCondition=+/bin/sh ${join(directory, CHECK_FILE)} %n`,
    "",
  ].join("\n");
}

export function tokenOf(dropIn: string | undefined): number | undefined {
  const digits = /^Environment=FLEET_FENCING_TOKEN=(\d+)$/m.exec(dropIn ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * The fence as transient timers. All times given to systemd are absolute, so a process that was stopped at any moment and goes on later arms nothing that
 * is later than it was meant: a timer cannot be moved, so each call starts a new one and then stops those before it.
 */
export class DbusFence {
  readonly #options: DbusFenceOptions;
  #timers = 0;
  /** What systemd counts a timer's OnStartupSec= from, in microseconds of the monotonic clock. */
  #startupUs: bigint | undefined;

  constructor(options: DbusFenceOptions) {
    this.#options = options;
    mkdirSync(join(options.directory, REFUSED), { recursive: true, mode: 0o755 });
    this.#write(CHECK_FILE, CHECK_SCRIPT);
    this.#write(FALL_FILE, FALL_SCRIPT);
  }

  async set(fence: Fence, signal?: AbortSignal): Promise<void> {
    if (this.#isOverdue()) await this.#fall(signal);
    this.#makeRoom(fence.units.length * NOTE_BYTES);
    const name = fence.units.length === 0 ? undefined : this.#nextName();
    // The system is stopping: systemd stops the units itself, starts none, and the fence that there is falls earlier than it had to.
    if (name !== undefined && !(await this.#arm(name, fence, signal))) return;
    // Only what systemd will stop in time may start.
    this.#write(UNTIL_FILE, `${name === undefined ? 0 : uptimeCs(this.#leftMs(fence.stopAtMs))}\n`);
    await this.#stopOthers(name, signal);
    // One that came due meanwhile.
    await this.#untilFallen(signal);
  }

  fallen(): readonly string[] {
    const text = readText(join(this.#options.directory, FALLEN_FILE)) ?? "";
    return text.split("\n\n").flatMap((block) => {
      const id = /^Id=(.+)$/m.exec(block)?.[1];
      const active = /^ActiveState=(.+)$/m.exec(block)?.[1];
      return id === undefined || active === "inactive" || active === "failed" ? [] : [id];
    });
  }

  /** Whether the unit was kept from starting since this was last asked. */
  takeRefusal(unit: string): boolean {
    const path = join(this.#options.directory, REFUSED, unit);
    // Hardly ever there, and an error is dearer than a look.
    return existsSync(path) && attempt(() => unlinkSync(path) ?? true) === true;
  }

  forgetFallen(units: readonly string[]): void {
    if (this.fallen().join() !== units.join()) return;
    const path = join(this.#options.directory, FALLEN_FILE);
    const blank = "\n".repeat(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    if (blank !== "") attempt(() => writeFileSync(path, blank, { flag: "r+" }));
  }

  /** Without it a fall may go unnoticed, but a fence is better than none. */
  #makeRoom(bytes: number): void {
    const path = join(this.#options.directory, FALLEN_FILE);
    const lacking = bytes - (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    if (lacking > 0) attempt(() => appendFileSync(path, "\n".repeat(lacking)));
  }

  /** False where nothing can be started any more. */
  async #arm(
    name: string,
    { units, stopAtMs, killAtMs }: Fence,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const { manager, directory } = this.#options;
    const startupUs = await this.#startup(signal);
    // This clock first: whatever holds this process up between the two only makes the fence fall earlier.
    const nowUs = process.hrtime.bigint() / 1_000n;
    const dueUs = nowUs + BigInt(Math.max(0, Math.round(this.#leftMs(stopAtMs) * 1_000)));
    const stopMaxSeconds = (Math.max(1, killAtMs - stopAtMs) / 1_000).toFixed(3);
    const timer = [
      variant("Description", "s", "stops fenced units when this machine's lease is not renewed"),
      variant("TimersMonotonic", "a(st)", [["OnStartupSec", dueUs - startupUs]]),
      variant("AccuracyUSec", "t", 1_000n),
      variant("RemainAfterElapse", "b", false),
      variant("CollectMode", "s", "inactive-or-failed"),
    ];
    const command = (...argv: readonly string[]) => [argv[0], argv, true];
    const service = [
      variant("Description", "s", "stops fenced units: this machine's lease was not renewed"),
      variant("Type", "s", "oneshot"),
      variant("CollectMode", "s", "inactive-or-failed"),
      variant("ExecStart", "a(sasb)", [
        command("/bin/sh", join(directory, FALL_FILE), ...units),
        command("/usr/bin/timeout", stopMaxSeconds, "/usr/bin/systemctl", "stop", "--", ...units),
        command("/usr/bin/systemctl", "kill", "--kill-who=all", "--signal=KILL", "--", ...units),
      ]),
    ];
    const aux = [[name.replace(/timer$/, "service"), service]];
    const body = [name, "fail", timer, aux];
    try {
      await manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body, { about: name, signal });
    } catch (error) {
      if (isAgainstJobs(error)) return false;
      throw error;
    }
    return true;
  }

  /** Not before systemd, which has been busy or stood still, has done what was due. */
  async #fall(signal?: AbortSignal): Promise<void> {
    const { manager } = this.#options;
    for (const { name } of await this.#list("timer", signal)) {
      const service = name.replace(/timer$/, "service");
      try {
        await manager.call("StartUnit", "ss", [service, "replace"], { about: service, signal });
      } catch (error) {
        if (!isNotLoaded(error)) throw error;
      }
    }
    await this.#untilFallen(signal);
  }

  async #untilFallen(signal?: AbortSignal): Promise<void> {
    while ((await this.#list("service", signal)).some(({ isBusy }) => isBusy)) {
      await sleep(this.#options.clock, FALL_RECHECK_MS, signal);
    }
  }

  #isOverdue(): boolean {
    const until = readText(join(this.#options.directory, UNTIL_FILE));
    return until !== undefined && Number(until) > 0 && Number(until) <= uptimeCs(0);
  }

  async #list(
    type: "timer" | "service",
    signal?: AbortSignal,
  ): Promise<readonly { readonly name: string; readonly isBusy: boolean }[]> {
    const pattern = `${TIMERS}-*.${type}`;
    const body = [[], [pattern]];
    const rows = await this.#options.manager.call("ListUnitsByPatterns", "asas", body, { signal });
    return (rows as [string, string, string, string, string, string, string, number][]).map(
      ([name, , , active, , , , job]) => ({
        name,
        isBusy: job !== 0 || (active !== "inactive" && active !== "failed"),
      }),
    );
  }

  async #stopOthers(name: string | undefined, signal?: AbortSignal): Promise<void> {
    const { manager } = this.#options;
    for (const { name: other } of await this.#list("timer", signal)) {
      if (other === name) continue;
      try {
        await manager.call("StopUnit", "ss", [other, "replace"], { about: other, signal });
      } catch (error) {
        if (!isNotLoaded(error)) throw error;
      }
    }
  }

  async #startup(signal?: AbortSignal): Promise<bigint> {
    const { manager } = this.#options;
    const property = "UserspaceTimestampMonotonic";
    this.#startupUs ??= BigInt(
      String(await manager.property(MANAGER_PATH, MANAGER_INTERFACE, property, { signal })),
    );
    return this.#startupUs;
  }

  #nextName(): string {
    this.#timers += 1;
    return `${TIMERS}-${process.pid}-${this.#timers}.timer`;
  }

  #leftMs(atMs: number): number {
    return atMs - this.#options.clock.monotonicMs();
  }

  #write(name: string, text: string): void {
    const path = join(this.#options.directory, name);
    writeFileSync(`${path}.new`, text, { mode: 0o644 });
    renameSync(`${path}.new`, path);
  }
}

/** When `leftMs` are over, in hundredths of a second of /proc/uptime, which the check reads too. */
function uptimeCs(leftMs: number): number {
  const [seconds = "0"] = readFileSync("/proc/uptime", "utf8").split(" ");
  return Math.floor(Number(seconds) * 100 + leftMs / 10);
}

function variant(name: string, signature: string, value: unknown): unknown {
  return [name, [signature, value]];
}
