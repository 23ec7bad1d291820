import { MemoryMachine } from "../../src/agent/memory-machine.ts";
import { MemorySystemd } from "../../src/agent/memory-systemd.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { describeSystemdContract } from "./systemd-contract.ts";
import { type HostUnitKind, unitText } from "./systemd-contract-fixture.ts";

const PATHS: Readonly<Record<HostUnitKind, string>> = {
  file: "/etc/systemd/system/hosts.service",
  template: "/etc/systemd/system/hosts@.service",
  masked: "/etc/systemd/system/hosts.service",
  transient: "/run/systemd/transient/hosts.service",
  alias: "/etc/systemd/system/hosts.service",
};

describeSystemdContract("memory", async () => {
  const clock = new VirtualClock();
  const machine = new MemoryMachine({ clock });
  let systemd = new MemorySystemd(machine);
  return {
    systemd,
    restartDaemon: async () => {
      await systemd.close();
      systemd = new MemorySystemd(machine);
      return systemd;
    },
    elapse: (durationMs) => clock.advance(durationMs),
    wallMs: () => clock.wallMs(),
    monotonicMs: () => clock.monotonicMs(),
    lastMarker: async (unit) => {
      const text = machine.runsOf(unit).at(-1)?.manifest.content ?? "";
      return /marker-(\w+)/.exec(text)?.[1];
    },
    isEnabled: async (unit) => machine.isEnabled(unit),
    host: {
      add: async (kind, unit) => {
        const path = PATHS[kind];
        const running = kind !== "masked" && kind !== "template";
        const name = kind === "template" ? "hosts@.service" : unit;
        machine.addHostUnit(name, { path, content: unitText() }, { running });
        return path;
      },
      isActive: async (unit) => machine.status(unit)?.active === "active",
      systemctl: async (verb, unit) => machine.byHand(verb, unit),
      crash: async (unit) => machine.crash(unit),
    },
    breakBus: async () => machine.breakBus(),
    restoreBus: async () => machine.restoreBus(),
    fillDisk: async () => {
      machine.failingWrites = 1;
      return async () => {
        machine.failingWrites = 0;
      };
    },
    close: () => systemd.close(),
  };
});
