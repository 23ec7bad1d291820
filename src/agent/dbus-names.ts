/** Object path of a unit: every byte but letters and digits becomes `_` and two hexadecimal digits, a digit at the start too (sd_bus_path_encode(3)). */
export function unitPath(unit: string): string {
  let label = "";
  for (const [index, byte] of Buffer.from(unit, "utf8").entries()) {
    const character = String.fromCharCode(byte);
    const plain = /[A-Za-z]/.test(character) || (index > 0 && /[0-9]/.test(character));
    label += plain ? character : `_${byte.toString(16).padStart(2, "0")}`;
  }
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
