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

/** Of /proc/PID/cgroup: the innermost service, of cgroup v2 if that says one. Names that systemd escaped stay so. */
export function unitOfCgroup(text: string): string | undefined {
  const paths = [/^0::(.*)$/m, /^\d+:name=systemd:(.*)$/m].map(
    (line) => line.exec(text)?.[1] ?? "",
  );
  const units = paths.map((path) => path.split("/").findLast((part) => part.endsWith(".service")));
  return units.find((unit) => unit !== undefined);
}
