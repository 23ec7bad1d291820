import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type RunResult, run, runOk } from "./run.ts";
import { type Wait, waitFor } from "./wait-for.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const LAB = join(PROJECT, "lab/lab.sh");
const PACKAGES = join(PROJECT, "lab/packages.sh");
/** Benches run what is deployed. */
const CLIENT = process.env["LAB_CLIENT"] ?? join(PROJECT, "src/cli/main.ts");
const API_PORT = 49153;

export interface LabOptions {
  /** m1 .. mN; 3. */
  readonly machines?: number;
  /**
   * Where the registry is: etcd as processes of the host (reachable as long as the host is), etcd inside the first machines
   * (dies and is cut off with them), or the store of a single daemon. "etcd".
   */
  readonly registry?: "etcd" | "etcd-in-machines" | "embedded";
  /** Members of etcd; 1. */
  readonly etcdMembers?: number;
  /** fleet.conf of every machine, beside what the lab itself sets. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Debian packages that the machines have and this host need not. */
  readonly packages?: readonly string[];
  /** False: machines and registry only. */
  readonly daemons?: boolean;
}

/**
 * Real machines on this host, with a registry and fleetd-ts on each: its own names, addresses and files, so several
 * can be open. Needs root. close() must be called; a process that ends by a signal or without it cleans up too.
 * Machines are numbers from 1.
 */
export class Lab {
  readonly dir: string;
  readonly size: number;

  private constructor(dir: string, size: number) {
    this.dir = dir;
    this.size = size;
  }

  static async open(options: LabOptions = {}): Promise<Lab> {
    await runOk([LAB, "sweep"]);
    const size = options.machines ?? 3;
    // lab.sh sweep reads the process id out of the name.
    const lab = new Lab(await mkdtemp(`/var/tmp/fleet-ts-lab.${process.pid}.`), size);
    cleanUpAtExit(lab);
    try {
      const { packages = [] } = options;
      const more = packages.length === 0 ? "" : await runOk([PACKAGES, ...packages]);
      await runOk([LAB, "up", String(size)], { env: { ...lab.#env, LAB_MORE: more.trim() } });
      const members = String(options.etcdMembers ?? 1);
      const registry = options.registry ?? "etcd";
      if (registry === "etcd") await lab.#script("etcd", "up", members);
      if (registry === "etcd-in-machines") await lab.#script("etcd", "machines", members);
      if (options.daemons ?? true) await lab.#startDaemons(registry, options.settings ?? {});
    } catch (error) {
      const logs = await lab.logs().catch(String);
      await lab.close();
      throw new Error(`the lab did not come up: ${error}\n${logs}`, { cause: error });
    }
    return lab;
  }

  async close(): Promise<void> {
    await this.#script("down");
    openLabs.delete(this);
  }

  /** For signals and exits: the same, at once. */
  closeNow(): void {
    spawnSync(LAB, ["down"], { env: { ...process.env, LAB_DIR: this.dir }, stdio: "inherit" });
    openLabs.delete(this);
  }

  async #startDaemons(registry: string, settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#script("fleet", "all", ...keyValues(settings));
    const together = registry !== "embedded";
    for (const machine of together ? [1] : this.machines) {
      await this.waitFor({
        what: `m${machine} lists ${together ? this.size : 1} machines`,
        deadlineMs: 60_000,
        look: () => this.presentMachines(machine),
        until: (present) => present.length === (together ? this.size : 1),
      });
    }
  }

  get machines(): readonly number[] {
    return Array.from({ length: this.size }, (_, index) => index + 1);
  }

  // ---- one machine

  async address(machine: number): Promise<string> {
    return (await this.#script("ip", String(machine))).trim();
  }

  async machineId(machine: number): Promise<string> {
    return (await readFile(this.#path(machine, "/etc/machine-id"), "utf8")).trim();
  }

  /** Boots a machine that is off; /etc and /var are as they were. Returns before its daemon is ready. */
  async start(machine: number): Promise<void> {
    await this.#script("start", String(machine));
  }

  /** Pulls the plug. */
  async kill(machine: number): Promise<void> {
    await this.#script("kill", String(machine));
  }

  /** Orderly shutdown; returns when the machine is off. */
  async poweroff(machine: number): Promise<void> {
    await this.#script("poweroff", String(machine));
  }

  /** Stops every process of the machine where it is, until resume(). */
  async pause(machine: number): Promise<void> {
    await this.#script("pause", String(machine));
  }

  async resume(machine: number): Promise<void> {
    await this.#script("resume", String(machine));
  }

  /** Cuts a machine off from `peers`, or from everything, the host included. */
  async partition(machine: number, ...peers: readonly number[]): Promise<void> {
    await this.#script("partition", String(machine), ...peers.map(String));
  }

  async heal(machine: number): Promise<void> {
    await this.#script("heal", String(machine));
  }

  /** Runs a program in the machine, as root. Outside the limits that the machine's own services have. */
  exec(machine: number, ...argv: readonly string[]): Promise<RunResult> {
    return run([LAB, "exec", String(machine), ...argv], { env: this.#env });
  }

  /** Writes below the machine's /etc or /var (other directories exist only while it runs). */
  async writeFile(machine: number, path: string, text: string | Buffer): Promise<void> {
    const file = this.#path(machine, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  journal(machine: number, ...args: readonly string[]): Promise<string> {
    return this.#script("journal", String(machine), ...args);
  }

  // ---- fleetd-ts

  /** `systemctl VERB fleetd-ts`; start and restart return when it is ready. */
  async daemon(machine: number, verb: "start" | "stop" | "restart"): Promise<void> {
    await runOk([LAB, "exec", String(machine), "systemctl", verb, "fleetd-ts"], { env: this.#env });
  }

  /** kill -9; systemd starts it again. */
  async killDaemon(machine: number): Promise<void> {
    const kill = ["systemctl", "kill", "--kill-who=main", "--signal=KILL", "fleetd-ts"];
    await runOk([LAB, "exec", String(machine), ...kill], { env: this.#env });
  }

  /** Replaces fleet.conf's settings and restarts the daemon if it is any different. */
  async configure(machine: number, settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#script("fleet", String(machine), ...keyValues(settings));
  }

  async endpoint(machine: number): Promise<string> {
    return `http://${await this.address(machine)}:${API_PORT}`;
  }

  /** GET of the API on one machine, or POST of a body; fails on any status but 200. */
  async api(machine: number, path: string, body?: unknown): Promise<unknown> {
    const post = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    };
    const response = await fetch(`${await this.endpoint(machine)}${path}`, {
      ...(body === undefined ? {} : post),
      signal: AbortSignal.timeout(5_000),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Ids of the machines that the daemon of `machine` sees as present. */
  async presentMachines(machine: number): Promise<readonly string[]> {
    const body = (await this.api(machine, "/fleet/v2/machines")) as {
      machines: { id: string; present: boolean }[];
    };
    return body.machines.filter((one) => one.present).map((one) => one.id);
  }

  /** The client, against the daemon of one machine. */
  async fleetctlAt(machine: number, ...args: readonly string[]): Promise<RunResult> {
    return run([process.execPath, CLIENT, ...args], {
      cwd: this.dir,
      env: {
        FLEETCTL_ENDPOINT: await this.endpoint(machine),
        // A third of the time per call; gone with the lab.
        NODE_COMPILE_CACHE: join(this.dir, "node-compile-cache"),
        XDG_CACHE_HOME: join(this.dir, "cache"),
      },
    });
  }

  /** The client, against the first machine that answers. Relative unit files are those of unitFile(). */
  async fleetctl(...args: readonly string[]): Promise<RunResult> {
    for (const machine of this.machines) {
      const answers = await this.api(machine, "/fleet/v2/cluster").catch(() => undefined);
      if (answers !== undefined) return this.fleetctlAt(machine, ...args);
    }
    throw new Error(`no machine's daemon answers\n${await this.logs()}`);
  }

  /** Puts a unit file where fleetctl() finds it by its name. */
  async unitFile(name: string, text: string): Promise<void> {
    await writeFile(join(this.dir, name), text);
  }

  // ---- registry

  /** Members of the host; all of them without `member`. `wipe` loses all data. */
  async etcd(
    verb: "stop" | "start" | "kill" | "pause" | "resume" | "wipe",
    member?: number,
  ): Promise<void> {
    await this.#script("etcd", verb, ...(member === undefined ? [] : [String(member)]));
  }

  /** Keeps a copy of the only member's disk, with etcd stopped for a moment. */
  async saveEtcd(): Promise<void> {
    await this.#script("etcd", "stop");
    await runOk(["cp", "-a", join(this.dir, "etcd/1/data"), join(this.dir, "saved-etcd")]);
    await this.#script("etcd", "start");
  }

  /** Puts that copy back, as somebody would who restores a backup of the disk: cluster and member are the same, the state is older. */
  async restoreEtcd(): Promise<void> {
    await this.#script("etcd", "kill");
    await runOk(["rm", "-r", join(this.dir, "etcd/1/data")]);
    await runOk(["mv", join(this.dir, "saved-etcd"), join(this.dir, "etcd/1/data")]);
    await this.#script("etcd", "start");
  }

  /** Puts the copy that another lab has kept in the place of the only member's disk, which is kept for restoreEtcd(). */
  async replaceEtcd(other: Lab): Promise<void> {
    await this.#script("etcd", "stop");
    await runOk(["mv", join(this.dir, "etcd/1/data"), join(this.dir, "saved-etcd")]);
    await runOk(["cp", "-a", join(other.dir, "saved-etcd"), join(this.dir, "etcd/1/data")]);
    await this.#script("etcd", "start");
  }

  etcdctl(...args: readonly string[]): Promise<RunResult> {
    return run([LAB, "etcd", "ctl", ...args], { env: this.#env });
  }

  async etcdUrls(): Promise<string> {
    return (await this.#script("etcd", "urls")).trim();
  }

  // ---- waiting, and what to look at when it was in vain

  waitFor<T>(wait: Wait<T>): Promise<T> {
    return waitFor({ explain: () => this.logs(), ...wait });
  }

  /** State of the machines and the end of every daemon's log. */
  async logs(lines = 15): Promise<string> {
    const parts = [(await run([LAB, "status"], { env: this.#env })).stdout.trimEnd()];
    for (const machine of this.machines) {
      const args = [
        "journal",
        String(machine),
        "-u",
        "fleetd-ts",
        "-n",
        String(lines),
        "-o",
        "cat",
      ];
      const { stdout } = await run([LAB, ...args], { env: this.#env });
      parts.push(`--- fleetd-ts on m${machine}`, stdout.trimEnd());
    }
    return parts.join("\n");
  }

  get #env(): Readonly<Record<string, string>> {
    return { LAB_DIR: this.dir };
  }

  #path(machine: number, path: string): string {
    return join(this.dir, `m${machine}/root`, path);
  }

  #script(...args: readonly string[]): Promise<string> {
    return runOk([LAB, ...args], { env: this.#env });
  }
}

function keyValues(settings: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(settings).map(([key, value]) => `${key}=${value}`);
}

const openLabs = new Set<Lab>();

function cleanUpAtExit(lab: Lab): void {
  if (openLabs.size === 0 && process.listenerCount("exit", closeAll) === 0) {
    process.on("exit", closeAll);
    process.once("SIGINT", () => process.exit(130));
    process.once("SIGTERM", () => process.exit(143));
  }
  openLabs.add(lab);
}

function closeAll(): void {
  for (const lab of openLabs) lab.closeNow();
}
