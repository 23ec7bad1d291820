/** Object path of a unit: every byte but letters and digits becomes `_` and two hexadecimal digits, a digit at the start too (sd_bus_path_encode(3)). */
export function unitPath(unit: string): string {
  const label = unit.replace(/^[0-9]|[^A-Za-z0-9]+/g, (others) =>
    Buffer.from(others, "utf8").toString("hex").replace(/../g, "_$&"),
  );
  return `/org/freedesktop/systemd1/unit/${label}`;
}

/** The service a process belongs to by its /proc/PID/cgroup; undefined where it is in none. */
export function unitOfCgroup(text: string): string | undefined {
  for (const line of text.split("\n")) {
    const [hierarchy, controllers, ...path] = line.split(":");
    // cgroup v2, or systemd's own tree of v1.
    if (hierarchy !== "0" && controllers !== "name=systemd") continue;
    const service = path
      .join(":")
      .split("/")
      .findLast((part) => part.endsWith(".service"));
    if (service !== undefined) return service;
  }
  return undefined;
}
