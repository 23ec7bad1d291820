import { serviceNameProblem } from "../services/service-name.ts";
import { mangleUnitName, validateUnitName } from "../units/unit-name.ts";

/** All names below are this cluster's; no other question is answered. */
export const DOMAIN = "fleet";

/** What a name asks about. `branch`: a name that exists, and has nothing but names below it. */
export type AskedName =
  | { readonly type: "outside" | "apex" | "branch" | "nothing" }
  | {
      readonly type: "service";
      readonly service: string;
      /** As a label of DNS. */
      readonly instance?: string;
      /** Of `_NAME._tcp.service.fleet`, the form of RFC 2782. */
      readonly protocol?: "tcp" | "udp";
    }
  /** `units`: it is the first of these that there is. Names of units tell case apart, DNS does not. */
  | { readonly type: "unit"; readonly units: readonly string[] }
  | { readonly type: "machine"; readonly machine: string };

/** Any text; without a trailing dot, as dns-packet has names. */
export function parseAskedName(name: string): AskedName {
  const labels = name.split(".");
  if (labels.pop()?.toLowerCase() !== DOMAIN) return { type: "outside" };
  const kind = labels.pop()?.toLowerCase();
  if (kind === undefined) return { type: "apex" };
  if (labels.length === 0)
    return { type: ["service", "unit", "machine"].includes(kind) ? "branch" : "nothing" };
  switch (kind) {
    case "service":
      return serviceName(labels.map((label) => label.toLowerCase()));
    case "unit":
      return unitName(labels.join("."));
    case "machine":
      return { type: "machine", machine: labels.join(".").toLowerCase() };
    default:
      return { type: "nothing" };
  }
}

function serviceName(labels: readonly string[]): AskedName {
  const last = labels.at(-1) ?? "";
  const protocol = last === "_tcp" ? "tcp" : last === "_udp" ? "udp" : undefined;
  if (protocol === undefined) {
    if (serviceNameProblem(last) !== undefined) return { type: "nothing" };
    const instance = labels.slice(0, -1).join(".");
    return { type: "service", service: last, ...(instance === "" ? {} : { instance }) };
  }
  const [named, ...others] = labels.slice(0, -1);
  if (named === undefined) return { type: "branch" };
  const service = named.replace(/^_/, "");
  const isName = named.startsWith("_") && serviceNameProblem(service) === undefined;
  return isName && others.length === 0
    ? { type: "service", service, protocol }
    : { type: "nothing" };
}

/** `web.unit.fleet` is `web.service.unit.fleet`. */
function unitName(text: string): AskedName {
  const unit = mangleUnitName(text);
  if (validateUnitName(unit) !== undefined) return { type: "nothing" };
  return { type: "unit", units: [...new Set([unit, unit.toLowerCase()])] };
}
