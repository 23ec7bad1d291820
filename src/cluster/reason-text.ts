import { isDrainReason, type Reason } from "./reason.ts";
import type { BlockedReasonView } from "./views.ts";

/** How a machine is called where the text is read. */
export type MachineLegend = (machineId: string) => string;

/** The reasons of one unit in one line: `conflicts with a.service (2 machines: m1, m2); m3 is cordoned (1 machine: m3)`. */
export function blockedText(
  reasons: readonly BlockedReasonView[],
  legend: MachineLegend = (machineId) => machineId,
): string {
  return reasons
    .map((view) => reasonText(view.reason, legend) + whereText(view, legend))
    .join("; ");
}

/** What the reasons keep the unit from, and why: `cannot be placed: ...`. */
export function blockedPhrase(
  reasons: readonly BlockedReasonView[],
  legend?: MachineLegend,
): string {
  const isOfDrain = reasons.some(({ reason }) => isDrainReason(reason));
  const what = isOfDrain ? "cannot leave its machine" : "cannot be placed";
  return `${what}: ${blockedText(reasons, legend)}`;
}

function whereText({ machines, examples, varied }: BlockedReasonView, legend: MachineLegend) {
  if (machines === 0) return "";
  const named = examples.map(legend);
  const list = [...named, ...(machines > named.length ? ["..."] : [])].join(", ");
  const others = varied === true ? " and the like" : "";
  return `${others} (${machines} ${machines === 1 ? "machine" : "machines"}: ${list})`;
}

export function reasonText(
  reason: Reason,
  legend: MachineLegend = (machineId) => machineId,
): string {
  const type: string = reason.type;
  switch (reason.type) {
    case "machine-id-differs":
      return `MachineID=${reason.required} names another machine`;
    case "machine-id-excluded":
      return `NotMachineID=${reason.excluded} keeps it away`;
    case "metadata-differs":
      return `MachineMetadata=${reason.requirement} does not hold`;
    case "peer-elsewhere":
      return `MachineOf=${reason.peer} is not there`;
    case "conflict":
      return `conflicts with ${reason.unit}`;
    case "replaced":
      return `${reason.unit} replaces it there`;
    case "too-many-instances":
      return `MaxPerMachine=${reason.max}: ${reason.there} ${reason.there === 1 ? "instance" : "instances"} of ${reason.template} there`;
    case "no-room":
      return `no room: wants ${amountText(reason.resource, reason.wanted)}, ${amountText(reason.resource, reason.free)} free`;
    case "name-taken":
      return "the machine has a unit of this name of its own";
    case "cordoned":
      return "cordoned: takes no new units";
    case "draining":
      return "draining: hands its units over";
    case "leaving":
      return "leaving: its daemon is being stopped";
    case "away":
      return "away";
    case "group-member":
      return `${reason.unit}, tied to it by MachineOf=, cannot be there: ${reasonText(reason.because, legend)}`;
    case "failed-there":
      return "it has failed there of late";
    case "fencing-too-slow":
      return `its stop may take ${reason.stopMs / 1_000} s, and Fencing=strict leaves ${reason.fitsMs / 1_000} s of the machine's lease for it`;
    case "failed":
      return `it failed on ${legend(reason.machineId)} and stays there: no other machine takes it`;
    case "move-limit":
      return `it failed on ${legend(reason.machineId)}, after ${reason.limit} ${reason.limit === 1 ? "move" : "moves"} for failures: start it again when the cause is mended`;
    case "rolling":
      return `rolling: ${reason.done} of ${reason.of} done`;
    case "no-machines":
      return "no machine is present";
    case "peer-not-wanted":
      return `MachineOf=${reason.peer} is not loaded or started`;
    case "stopping":
      return `it has not finished stopping on ${legend(reason.machineId)}`;
    case "waiting-for-room":
      return `${reason.unit} has not left ${legend(reason.machineId)} yet`;
    case "machine-lost":
      return `its machine ${legend(reason.machineId)} is lost and no other can take it`;
    case "loss-held":
      return reason.why === "boot-grace"
        ? `its machine ${legend(reason.machineId)} is away, and the engine has not run long enough to give it up`
        : `its machine ${legend(reason.machineId)} is away together with most others, so the engine moves nothing yet`;
    case "drain-stuck":
      return `no other machine takes it than ${legend(reason.machineId)}, which is drained`;
    case "drain-pinned":
      return `MachineID= keeps it on ${legend(reason.machineId)}, which is drained`;
    case "manifest-missing":
      return "its unit file is missing in the registry: submit it again with --replace";
    case "manifest-invalid":
      return `its unit file is invalid: ${reason.detail}`;
  }
  // A newer engine may give reasons this version has no words for.
  return type;
}

function amountText(
  resource: Extract<Reason, { type: "no-room" }>["resource"],
  amount: number,
): string {
  if (resource === "tasks") return `${amount} tasks`;
  if (resource === "cpu") return `${Number(amount.toFixed(2))} cores`;
  let size = amount;
  let unit = 0;
  for (; size >= 1024 && unit < BINARY_UNITS.length - 1; unit += 1) size /= 1024;
  return `${Number(size.toFixed(1))}${BINARY_UNITS[unit]} of memory`;
}

/** As systemd writes them. */
const BINARY_UNITS = ["B", "K", "M", "G", "T", "P"];
