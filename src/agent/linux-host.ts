import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { availableParallelism, hostname, networkInterfaces, release, totalmem } from "node:os";
import { promisify } from "node:util";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { Host, HostFacts, RecordFolder } from "./host.ts";
import { defaultAddress } from "./linux-address.ts";
import { openFolder } from "./linux-folder.ts";

export interface LinuxHostOptions {
  readonly volatileDirectory?: string;
  readonly persistentDirectory?: string;
  /** Root of /etc, /proc and /sys; another one in tests. */
  readonly root?: string;
}

const PROGRAM_DEADLINE_MS = 5_000;

/** This machine. Rejects with `host-io` where it has no machine id or its folders cannot be made. */
export async function openLinuxHost(options: LinuxHostOptions = {}): Promise<Host> {
  const root = options.root ?? "";
  // Before anything is made on a machine that cannot be one.
  const [machineId, bootId] = await Promise.all([
    readMachineId(`${root}/etc/machine-id`),
    readBootId(`${root}/proc/sys/kernel/random/boot_id`),
  ]);
  const [volatile, persistent] = await Promise.all([
    openFolder(options.volatileDirectory ?? "/run/fleet", { durable: false }),
    openFolder(options.persistentDirectory ?? "/var/lib/fleet-ts", { durable: true }),
  ]);
  return new LinuxHost({ root, machineId, bootId, volatile, persistent });
}

class LinuxHost implements Host {
  readonly machineId: string;
  readonly bootId: string;
  readonly volatile: RecordFolder;
  readonly persistent: RecordFolder;
  readonly #root: string;
  /** Does not change while the daemon runs: systemd's upgrades keep the running manager's version only until it re-executes. */
  #systemd: Promise<string> | undefined;

  constructor(parts: {
    root: string;
    machineId: string;
    bootId: string;
    volatile: RecordFolder;
    persistent: RecordFolder;
  }) {
    this.#root = parts.root;
    this.machineId = parts.machineId;
    this.bootId = parts.bootId;
    this.volatile = parts.volatile;
    this.persistent = parts.persistent;
  }

  async facts(): Promise<HostFacts> {
    this.#systemd ??= systemdVersion();
    const [routes, osRelease, tasks, systemd] = await Promise.all([
      readText(`${this.#root}/proc/net/route`),
      readText(`${this.#root}/etc/os-release`),
      readText(`${this.#root}/proc/sys/kernel/threads-max`),
      this.#systemd,
    ]);
    const routes6 = await readText(`${this.#root}/proc/net/ipv6_route`);
    return {
      address: defaultAddress({ routes, routes6, interfaces: networkInterfaces() }),
      automatic: {
        arch: process.arch,
        os: osReleaseId(osRelease),
        kernel: release(),
        hostname: hostname(),
        systemd,
      },
      capacity: {
        cpus: availableParallelism(),
        memoryBytes: totalmem(),
        tasks: Number.parseInt(tasks, 10) || 0,
      },
    };
  }
}

/** machine-id(5). `uninitialized` is what an image says before its first boot. */
async function readMachineId(path: string): Promise<string> {
  const id = (await readText(path)).trim();
  if (/^[0-9a-f]{32}$/.test(id) && !/^0*$/.test(id)) return id;
  const why = id === "" ? "it is missing or empty" : `it says ${JSON.stringify(id.slice(0, 40))}`;
  throw new FleetError(
    "host-io",
    `cannot tell which machine this is by ${path}: ${why}; run systemd-machine-id-setup`,
  );
}

async function readBootId(path: string): Promise<string> {
  const id = (await readText(path)).trim();
  if (id === "") throw new FleetError("host-io", `cannot read the boot id in ${path}`);
  return id;
}

function osReleaseId(text: string): string {
  const value = /^ID=(.*)$/m.exec(text)?.[1] ?? "";
  // os-release(5): the default, quotes are allowed.
  return value.replace(/^(["'])(.*)\1$/, "$2") || "linux";
}

/** `systemd 252 (252.39-1~deb12u2)` -> `252`; empty where there is no systemctl. */
async function systemdVersion(): Promise<string> {
  try {
    const options = { timeout: PROGRAM_DEADLINE_MS };
    const { stdout } = await promisify(execFile)("systemctl", ["--version"], options);
    return /^systemd (\S+)/.exec(stdout)?.[1] ?? "";
  } catch {
    return "";
  }
}

/** Empty where there is no such file. */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw new FleetError("host-io", `cannot read ${path}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
