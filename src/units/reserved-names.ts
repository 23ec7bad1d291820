import { parseGlob } from "./glob.ts";

/**
 * Names that the cluster may not give out (I11): a unit of this name from fleet-ts would take the place of one that
 * the machine or fleet-ts itself needs. systemd.special(7), bootup(7), and the services that systemd brings along.
 */
interface ReservedNames {
  readonly why: string;
  /** Globs, see glob.ts. */
  readonly names: readonly string[];
}

const RESERVED: readonly ReservedNames[] = [
  {
    why: "the daemons of fleet-ts, and of fleet",
    names: ["fleetd*", "fleet.service", "fleet.socket", "fleet-fence*"],
  },
  {
    why: "systemd's own services and sockets",
    names: ["systemd-*", "user@*.service", "user-runtime-dir@*.service", "modprobe@*.service"],
  },
  {
    why: "the message bus, without which systemd cannot be asked for anything",
    names: ["dbus.service", "dbus.socket", "dbus-broker.service", "dbus-org.freedesktop.*.service"],
  },
  {
    why: "the logins on consoles",
    names: [
      "getty@*.service",
      "autovt@*.service",
      "serial-getty@*.service",
      "container-getty@*.service",
      "console-getty.service",
      "display-manager.service",
    ],
  },
  {
    why: "services that systemd starts when booting fails or stops",
    names: [
      "rescue.service",
      "emergency.service",
      "debug-shell.service",
      "initrd-*.service",
      "system-update-cleanup.service",
      "syslog.socket",
      "syslog.service",
    ],
  },
  {
    why: "the slices and scopes that hold every process of the machine",
    names: ["-.slice", "system.slice", "user.slice", "user-*.slice", "machine.slice", "init.scope"],
  },
  {
    why: "file systems that the machine cannot be without",
    names: ["-.mount", "usr.mount", "boot.mount", "dev-*.mount", "proc-*.mount", "sys-*.mount"],
  },
  {
    why: "targets of booting, of shutting down and of sleeping",
    names: [
      "basic.target",
      "boot-complete.target",
      "ctrl-alt-del.target",
      "default.target",
      "emergency.target",
      "exit.target",
      "factory-reset.target",
      "final.target",
      "first-boot-complete.target",
      "graphical.target",
      "halt.target",
      "hibernate.target",
      "hybrid-sleep.target",
      "initrd*.target",
      "kbrequest.target",
      "kexec.target",
      "multi-user.target",
      "poweroff.target",
      "reboot.target",
      "rescue.target",
      "runlevel[0-6].target",
      "shutdown.target",
      "sigpwr.target",
      "sleep.target",
      "soft-reboot.target",
      "storage-target-mode.target",
      "suspend.target",
      "suspend-then-hibernate.target",
      "sysinit.target",
      "system-update.target",
      "system-update-pre.target",
      "umount.target",
    ],
  },
  {
    why: "targets by which the machine's own units order themselves",
    names: [
      "blockdev@*.target",
      "bluetooth.target",
      "cryptsetup.target",
      "cryptsetup-pre.target",
      "getty.target",
      "getty-pre.target",
      "integritysetup.target",
      "integritysetup-pre.target",
      "local-fs.target",
      "local-fs-pre.target",
      "machines.target",
      "network.target",
      "network-online.target",
      "network-pre.target",
      "nss-lookup.target",
      "nss-user-lookup.target",
      "paths.target",
      "printer.target",
      "remote-cryptsetup.target",
      "remote-fs.target",
      "remote-fs-pre.target",
      "remote-veritysetup.target",
      "rpcbind.target",
      "slices.target",
      "smartcard.target",
      "sockets.target",
      "sound.target",
      "ssh-access.target",
      "swap.target",
      "time-set.target",
      "time-sync.target",
      "timers.target",
      "tpm2.target",
      "usb-gadget.target",
      "veritysetup.target",
      "veritysetup-pre.target",
    ],
  },
];

const PATTERNS = RESERVED.flatMap(({ why, names }) =>
  names.map((name) => ({ why, glob: parseGlob(name) })),
);

/** Why the cluster does not give out this name, or undefined if it does. */
export function reservedNameReason(name: string): string | undefined {
  return PATTERNS.find(({ glob }) => glob?.matches(name))?.why;
}

export function isReservedUnitName(name: string): boolean {
  return reservedNameReason(name) !== undefined;
}
