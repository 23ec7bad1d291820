import { execFile } from "node:child_process";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { openDbusSystemd } from "../../src/agent/dbus-systemd.ts";
import type { Systemd } from "../../src/agent/systemd.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { describeSystemdContract } from "./systemd-contract.ts";
import {
  type HostUnitKind,
  MARKERS,
  type SystemdFixture,
  unitText,
} from "./systemd-contract-fixture.ts";

/** Runs inside a lab machine only: it fills disks, stops the bus and makes units of the host. dbus-systemd.real.test.ts starts it there. */

const DISK = "/run/fleet-contract";
const UNITS = `${DISK}/units`;
const FENCE = `${DISK}/fence`;
const HOST_UNITS = "/etc/systemd/system";
/** Room for the units of a test, and soon full. */
const DISK_BYTES = 4 * 1024 * 1024;

async function run(program: string, ...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, args)).stdout.trim();
}

/** What fails to be undone was not there. */
async function attempt(program: string, ...args: readonly string[]): Promise<void> {
  await run(program, ...args).catch(() => "");
}

function open(): Promise<Systemd> {
  const options = {
    unitsDirectory: UNITS,
    fenceDirectory: FENCE,
    clock: systemClock,
    logger: silentLogger,
  };
  return openDbusSystemd(options);
}

async function addHostUnit(kind: HostUnitKind, unit: string): Promise<string> {
  const path = `${HOST_UNITS}/${unit}`;
  switch (kind) {
    case "file":
      await writeFile(path, unitText());
      await run("systemctl", "start", unit);
      return path;
    case "template":
      await writeFile(`${HOST_UNITS}/hosts@.service`, unitText());
      await run("systemctl", "start", unit);
      return `${HOST_UNITS}/hosts@.service`;
    case "masked":
      await symlink("/dev/null", path);
      await run("systemctl", "daemon-reload");
      return path;
    case "transient":
      await run("systemd-run", `--unit=${unit}`, "sleep", "infinity");
      return `/run/systemd/transient/${unit}`;
    case "alias":
      await writeFile(`${HOST_UNITS}/hosts-own.service`, unitText());
      await symlink("hosts-own.service", path);
      await run("systemctl", "start", unit);
      return path;
  }
}

async function removeHostUnits(): Promise<void> {
  await attempt("systemctl", "stop", "hosts.service", "hosts-own.service", "hosts@1.service");
  for (const name of ["hosts.service", "hosts-own.service", "hosts@.service"]) {
    await rm(`${HOST_UNITS}/${name}`, { force: true });
  }
  await run("systemctl", "daemon-reload");
}

async function openFixture(): Promise<SystemdFixture> {
  await rm(MARKERS, { recursive: true, force: true });
  await mkdir(MARKERS, { recursive: true });
  await mkdir(DISK, { recursive: true });
  await run("mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "contract", DISK);
  let systemd = await open();
  return {
    systemd,
    restartDaemon: async () => {
      await systemd.close();
      systemd = await open();
      return systemd;
    },
    elapse: (durationMs) =>
      new Promise((resolve) => {
        systemClock.setTimer(durationMs, resolve);
      }),
    wallMs: () => systemClock.wallMs(),
    monotonicMs: () => systemClock.monotonicMs(),
    lastMarker: async (unit) => {
      const text = await readFile(`${MARKERS}/${unit}`, "utf8").catch(() => "");
      return /marker-(\w+)/.exec(text)?.[1];
    },
    isEnabled: async (unit) =>
      (await run("systemctl", "is-enabled", unit).catch(() => "")) === "enabled-runtime",
    host: {
      add: addHostUnit,
      isActive: async (unit) =>
        (await run("systemctl", "show", "--value", "--property=ActiveState", unit)) === "active",
      systemctl: async (verb, unit) => {
        await run("systemctl", verb, "--no-block", unit);
      },
      crash: async (unit) => {
        await run("systemctl", "kill", "--kill-who=main", "--signal=KILL", unit);
      },
    },
    breakBus: async () => {
      await run("systemctl", "stop", "dbus.socket", "dbus.service");
    },
    restoreBus: async () => {
      await run("systemctl", "start", "dbus.socket", "dbus.service");
    },
    fillDisk: async () => {
      const filler = `${DISK}/filler`;
      await writeFile(filler, Buffer.alloc(DISK_BYTES)).catch(() => {});
      return () => rm(filler);
    },
    close: async () => {
      await run("systemctl", "start", "dbus.socket", "dbus.service");
      await systemd.close();
      await cleanUp();
    },
  };
}

async function cleanUp(): Promise<void> {
  const last = await open();
  const units = (await last.held()).map((held) => held.unit);
  await Promise.all(units.map((unit) => last.stop(unit)));
  if ((await last.remove(units)).reloadNeeded) await last.reload();
  await last.fence({ units: [], stopAtMs: 0, killAtMs: 0 });
  await last.forgetFallen(await last.fallen());
  await last.close();
  await removeHostUnits();
  await run("umount", DISK);
}

describeSystemdContract("D-Bus", openFixture);
