import type { BoundAddress } from "./proxy.ts";

/** What a consumer has to know of one link. */
export interface LinkPlace {
  readonly service: string;
  readonly address: BoundAddress;
}

/** Variables as docker's links had them, for EnvironmentFile=. */
export function envFileText(consumer: string, places: readonly LinkPlace[]): string {
  const lines = new Map<string, string>();
  // The first link of a service names it.
  const say = (name: string, value: string) => {
    if (!lines.has(name)) lines.set(name, value);
  };
  for (const { service, address } of places) {
    const alias = service.toUpperCase().replaceAll("-", "_");
    say(`${alias}_NAME`, `/${consumer}/${service}`);
    if (address.type === "unix") {
      say(`${alias}_SOCKET`, address.host);
      continue;
    }
    const { type, port } = address;
    const host = reachable(address.host);
    const url = `${type}://${host.includes(":") ? `[${host}]` : host}:${port}`;
    const prefix = `${alias}_PORT_${port}_${type.toUpperCase()}`;
    say(`${alias}_PORT`, url);
    say(prefix, url);
    say(`${prefix}_ADDR`, host);
    say(`${prefix}_PORT`, String(port));
    say(`${prefix}_PROTO`, type);
  }
  return [...lines].map(([name, value]) => `${name}=${value}\n`).join("");
}

/** `text` with the consumer's own block of entries; whatever else is in the file stays as it is. */
export function hostsText(text: string, consumer: string, places: readonly LinkPlace[]): string {
  const [begin, end] = [
    `# begin fleet-ambassador ${consumer}`,
    `# end fleet-ambassador ${consumer}`,
  ];
  const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
  const first = lines.indexOf(begin);
  const last = lines.indexOf(end, first);
  if (first !== -1 && last !== -1) lines.splice(first, last - first + 1);
  const entries = new Set(
    places.flatMap(({ service, address }) =>
      address.type === "unix"
        ? []
        : [`${reachable(address.host)}\t${service} ${service}.service.fleet`],
    ),
  );
  return [...lines, begin, ...entries, end, ""].join("\n");
}

/** Where something that listens everywhere is found from here. */
function reachable(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
}
