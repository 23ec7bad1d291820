import { type Manifest, manifestOptions } from "../units/manifest.ts";
import { optionValues, type UnitOption } from "../units/unit-file.ts";
import { parseUnitName } from "../units/unit-name.ts";

/**
 * How a unit behaves in the simulation: systemd's own options where there is one, and a section of the simulation's, which
 * a real systemd passes over:
 *
 *     [X-Sim]
 *     StartMs=300        start-up takes that long (for a oneshot: its whole run)
 *     ExitAfterMs=1000   the main process ends by itself after that time
 *     ExitCode=1 1 0     of the first, second, ... run; the last one counts for all further ones
 *     StopMs=200         ExecStop takes that long; PostMs=: ExecStopPost, also after an exit
 *     Outcome=dependency the start job ends that way and nothing runs
 */
export interface Behaviour {
  readonly type: string;
  readonly serviceType: string;
  /** What systemd would say of the file: `loaded` or `bad-setting`. */
  readonly load: "loaded" | "bad-setting";
  readonly remainAfterExit: boolean;
  readonly restart: string;
  /** Has an ExecReload=. */
  readonly reloads: boolean;
  readonly restartMs: number;
  readonly startMs: number;
  readonly startTimeoutMs: number;
  readonly jobTimeoutMs: number;
  readonly exitAfterMs: number;
  readonly exitCodes: readonly number[];
  readonly stopMs: number;
  readonly stopTimeoutMs: number;
  readonly postMs: number;
  readonly startLimitBurst: number;
  readonly startLimitMs: number;
  readonly outcome: string;
  /** Has an [Install] section that says something. */
  readonly installs: boolean;
  readonly wantedBy: readonly string[];
  readonly aliases: readonly string[];
  /** Names that enabling makes a link for or enables as well (Alias=, Also=). */
  readonly installNames: readonly string[];
}

const FOREVER = Number.POSITIVE_INFINITY;

export function readBehaviour(unit: string, manifest: Manifest): Behaviour {
  const options = manifestOptions(manifest);
  const type = parseUnitName(unit)?.type ?? "";
  const one = reader(options);
  const serviceType = one("Service", "Type", "simple");
  const remainAfterExit = /^(yes|true|on|1)$/i.test(one("Service", "RemainAfterExit", "no"));
  const oneshot = serviceType === "oneshot";
  const lists = (name: string) =>
    optionValues(options, { section: "Install", name }).flatMap((value) => value.split(/\s+/));
  return {
    type,
    serviceType,
    load: type === "service" && one("Service", "ExecStart", "") === "" ? "bad-setting" : "loaded",
    remainAfterExit,
    restart: one("Service", "Restart", "no"),
    reloads: one("Service", "ExecReload", "") !== "",
    restartMs: spanMs(one("Service", "RestartSec", "100ms")),
    startMs: Number(one("X-Sim", "StartMs", "0")),
    startTimeoutMs: spanMs(one("Service", "TimeoutStartSec", oneshot ? "infinity" : "90s")),
    jobTimeoutMs: spanMs(one("Unit", "JobTimeoutSec", "infinity")),
    exitAfterMs: Number(one("X-Sim", "ExitAfterMs", "Infinity")),
    exitCodes: one("X-Sim", "ExitCode", "0").split(/\s+/).map(Number),
    stopMs: Number(one("X-Sim", "StopMs", "0")),
    stopTimeoutMs: spanMs(one("Service", "TimeoutStopSec", "90s")),
    postMs: Number(one("X-Sim", "PostMs", "0")),
    startLimitBurst: Number(one("Unit", "StartLimitBurst", "5")),
    startLimitMs: spanMs(one("Unit", "StartLimitIntervalSec", "10s")),
    outcome: one("X-Sim", "Outcome", ""),
    installs: options.some((option) => option.section === "Install" && option.value !== ""),
    wantedBy: [...lists("WantedBy"), ...lists("RequiredBy")],
    aliases: lists("Alias"),
    installNames: [...lists("Alias"), ...lists("Also")],
  };
}

function reader(options: readonly UnitOption[]) {
  return (section: string, name: string, otherwise: string): string =>
    optionValues(options, { section, name }).at(-1) ?? otherwise;
}

const UNITS_MS: Readonly<Record<string, number>> = {
  "": 1_000,
  ms: 1,
  s: 1_000,
  sec: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
};

/** systemd.time(7), as far as simulated units need it: `500ms`, `1.5`, `1min 30s`, `infinity`, and 0 for "never" is not among it. */
function spanMs(text: string): number {
  if (text === "infinity") return FOREVER;
  let sumMs = 0;
  for (const [, digits, unit] of text.matchAll(/([\d.]+)\s*([a-z]*)/g)) {
    sumMs += Number(digits) * (UNITS_MS[unit ?? ""] ?? 1_000);
  }
  return sumMs;
}
