import { createHmac, timingSafeEqual } from "node:crypto";
import { SSH_PORT } from "./remote.ts";

/** A line of a known_hosts file (sshd(8)). */
export interface KnownHost {
  readonly hosts: string;
  readonly type: string;
  /** Base64. */
  readonly key: string;
  readonly marker: "revoked" | "cert-authority" | undefined;
  /** `file:line`, for messages. */
  readonly place: string;
}

export type HostVerdict =
  | { readonly type: "known" }
  | { readonly type: "unknown" }
  /** Other keys of that kind, or any, are known of the host. */
  | { readonly type: "changed"; readonly place: string }
  | { readonly type: "revoked"; readonly place: string };

/** Lines that cannot be read are passed over, as ssh does. */
export function parseKnownHosts(text: string, file: string): readonly KnownHost[] {
  return text.split("\n").flatMap((line, index): readonly KnownHost[] => {
    const words = line.trim().split(/\s+/);
    const marker = words[0]?.startsWith("@") === true ? words.shift()?.slice(1) : undefined;
    const [hosts, type, key] = words;
    if (hosts === undefined || hosts.startsWith("#") || type === undefined || key === undefined) {
      return [];
    }
    if (marker !== undefined && marker !== "revoked" && marker !== "cert-authority") return [];
    return [{ hosts, type, key, marker, place: `${file}:${index + 1}` }];
  });
}

/** As it is written in the file: `host`, or `[host]:port` for any port but 22. */
export function storedName(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === SSH_PORT ? name : `[${name}]:${port}`;
}

/** Kinds of keys known of a host, to ask it for one of those first. */
export function knownTypes(known: readonly KnownHost[], name: string): readonly string[] {
  const own = known.filter(({ marker, hosts }) => marker === undefined && matches(hosts, name));
  return [...new Set(own.map(({ type }) => type))];
}

/** One of several keys of a host is enough. */
export function judgeHost(
  known: readonly KnownHost[],
  { name, key }: { readonly name: string; readonly key: string },
): HostVerdict {
  const own = known.filter(({ hosts }) => matches(hosts, name));
  const same = own.filter((entry) => entry.key === key);
  const revoked = same.find(({ marker }) => marker === "revoked");
  if (revoked !== undefined) return { type: "revoked", place: revoked.place };
  if (same.some(({ marker }) => marker === undefined)) return { type: "known" };
  const other = own.find(({ marker }) => marker === undefined);
  return other === undefined ? { type: "unknown" } : { type: "changed", place: other.place };
}

/** `|1|salt|hash`, or patterns with `*`, `?` and `!`, of which one that is negated always counts. */
function matches(hosts: string, name: string): boolean {
  if (hosts.startsWith("|1|")) return matchesHash(hosts, name);
  let matched = false;
  for (const pattern of hosts.toLowerCase().split(",")) {
    const negated = pattern.startsWith("!");
    if (!patternOf(negated ? pattern.slice(1) : pattern).test(name)) continue;
    if (negated) return false;
    matched = true;
  }
  return matched;
}

function matchesHash(hosts: string, name: string): boolean {
  const [, , salt = "", hash = ""] = hosts.split("|");
  const expected = Buffer.from(hash, "base64");
  const actual = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

function patternOf(pattern: string): RegExp {
  const escaped = pattern.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}
