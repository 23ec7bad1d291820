import { type Manifest, manifestOptions } from "../units/manifest.ts";
import type { UnitOption } from "../units/unit-file.ts";
import { parseUnitName } from "../units/unit-name.ts";

/** What has to be known of a unit's text to put it on a machine. */
export interface UnitText {
  /** The [Install] section has an option, so enabling it is not refused for want of one. */
  readonly installs: boolean;
  /** Other units that enabling would make a link for or enable as well (Alias=, Also=). */
  readonly installNames: readonly string[];
  /** Whether `After=` the daemon is possible without an ordering cycle. */
  readonly stopsBeforeDaemon: boolean;
}

/**
 * Of the other types systemd itself says Before= some target that every service comes after: `sockets`, `paths`, `slices`
 * or `local-fs.target`. With After= the daemon they would close a circle, and systemd breaks one by leaving a job out.
 */
const TYPES_AFTER_DAEMON: ReadonlySet<string> = new Set(["service", "timer", "target"]);

/** What may be said in Before= all the same: these come after the daemon themselves. */
const LATE_TARGETS: ReadonlySet<string> = new Set([
  "multi-user.target",
  "graphical.target",
  "default.target",
  "timers.target",
  "shutdown.target",
  "umount.target",
  "final.target",
]);

export function readUnitText(unit: string, manifest: Manifest): UnitText {
  const options = manifestOptions(manifest);
  const install = options.filter((option) => option.section === "Install" && option.value !== "");
  return {
    installs: install.length > 0,
    installNames: install
      .filter((option) => option.name === "Alias" || option.name === "Also")
      .flatMap((option) => words(option.value)),
    stopsBeforeDaemon: canFollowDaemon(unit, options),
  };
}

function canFollowDaemon(unit: string, options: readonly UnitOption[]): boolean {
  if (!TYPES_AFTER_DAEMON.has(parseUnitName(unit)?.type ?? "")) return false;
  return options.every(({ section, name, value }) => {
    if (section !== "Unit") return true;
    // A unit of early boot, or one that the daemon itself waits for.
    if (name === "DefaultDependencies") return !/^(no|n|false|f|off|0)$/i.test(value);
    if (name !== "Before") return true;
    return words(value).every((word) => !word.endsWith(".target") || LATE_TARGETS.has(word));
  });
}

function words(value: string): readonly string[] {
  return value.split(/\s+/).filter((word) => word !== "");
}
