import { readFileSync } from "node:fs";

/** The systemd unit this process runs in, or undefined outside of one. */
export function ownUnit(cgroupFile = "/proc/self/cgroup"): string | undefined {
  let text: string;
  try {
    text = readFileSync(cgroupFile, "utf8");
  } catch {
    return undefined;
  }
  return unitOfCgroup(text);
}

/** Of /proc/PID/cgroup: the innermost service. Names that systemd escaped stay so. */
export function unitOfCgroup(text: string): string | undefined {
  const path = /^(?:0:|\d+:name=systemd):(.*)$/m.exec(text)?.[1] ?? "";
  return path.split("/").findLast((part) => part.endsWith(".service"));
}
