import type { Fencing } from "./requirements.ts";
import { parseTimeSpan } from "./time-span.ts";
import { optionValues, type UnitOption } from "./unit-file.ts";

/** Undefined: the unit does not ask for it. */
export function fencingOf(options: readonly UnitOption[]): Fencing | undefined {
  const said = optionValues(options, { section: "X-Fleet", name: "Fencing" }).at(-1);
  return said === "strict" ? { stopMs: stopMs(options) } : undefined;
}

/** Why the text does not go with Fencing=strict: nobody could tell when the unit will have ended. */
export function fencingProblem(
  unitType: string,
  options: readonly UnitOption[],
): string | undefined {
  if (unitType !== "service") return "only services can be fenced";
  const last = (name: string) => optionValues(options, { section: "Service", name }).at(-1);
  const killMode = last("KillMode") ?? "control-group";
  if (killMode === "none" || killMode === "process") {
    return `KillMode=${killMode} leaves processes behind`;
  }
  if (/^(no|n|false|f|off|0)$/i.test(last("SendSIGKILL") ?? "yes")) {
    return "SendSIGKILL=no lets processes live on";
  }
  if (!Number.isFinite(stopMs(options))) {
    return "it needs a TimeoutStopSec= that fits into half of the machines' agent_ttl";
  }
  return undefined;
}

/**
 * systemd.service(5): each ExecStop= command, then what is left after SIGTERM, then each ExecStopPost= command and what it left, may take
 * TimeoutStopSec= each. Infinity where it is not limited, or only by the machine's own default.
 */
function stopMs(options: readonly UnitOption[]): number {
  const timeouts = options.filter(
    ({ section, name }) =>
      section === "Service" && (name === "TimeoutStopSec" || name === "TimeoutSec"),
  );
  const limitMs = parseTimeSpan(timeouts.at(-1)?.value ?? "infinity") ?? Number.POSITIVE_INFINITY;
  const commands = (name: string) => optionValues(options, { section: "Service", name }).length;
  const post = commands("ExecStopPost");
  const phases = commands("ExecStop") + 1 + (post > 0 ? post + 1 : 0);
  return limitMs > 0 ? limitMs * phases : Number.POSITIVE_INFINITY;
}
