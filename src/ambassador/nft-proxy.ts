import { readFile, writeFile } from "node:fs/promises";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { NftLink } from "./nft-link.ts";
import { guardScript, isLoopback, nftName, removeTableScript, tableScript } from "./nft-rules.ts";
import { runProgram } from "./nft-run.ts";
import type { DataPlane, LinkOptions, LinkTuning, ProxyLink } from "./proxy.ts";

/** What the kernel's translation cannot do, by option; each with the value that asks for it. */
const UNSUPPORTED: readonly (readonly [keyof LinkTuning, (value: unknown) => boolean])[] = [
  ["proxyProtocol", (value) => value === true],
  ["balance", (value) => value === "least-connections"],
  ["holdMs", (value) => value !== 0],
  ...(
    [
      "heldMax",
      "connectTimeoutMs",
      "attemptsMax",
      "connectionsMax",
      "backendConnectionsMax",
    ] as const
  ).map(never),
  ...(["bufferBytes", "sessionIdleMs", "ejectAfter", "ejectFirstMs", "ejectMaxMs"] as const).map(
    never,
  ),
];

function never(option: keyof LinkTuning): readonly [keyof LinkTuning, () => boolean] {
  return [option, () => true];
}

export interface NftProxyParts {
  readonly clock: Clock;
  /** Of the ambassador: one table each, `fleet_ambassador_NAME`; one process at a time. */
  readonly name: string;
}

/**
 * Data plane in the kernel: destinations are translated by nftables (package nftables; conntrack for UDP), no byte passes through this
 * process. What an earlier process of this name left is removed first.
 */
export async function openNftProxy(parts: NftProxyParts): Promise<DataPlane> {
  const table = `fleet_ambassador_${nftName(parts.name)}`;
  const links = new Map<string, NftLink>();
  await nft(tableScript(table, []));
  // One transaction at a time, each with what all links want when its turn comes.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => {});
    return turn;
  };
  const count = async () => {
    // Somebody may have flushed the kernel's tables: what was counted is lost, and rules come back with the next change.
    const list = ["-j", "list", "counters", "table", "inet", table];
    const counters = await nft("", list).then(parseCounters, () => undefined);
    if (counters !== undefined) for (const link of links.values()) link.count(counters);
  };
  const apply = () =>
    inTurn(async () => {
      await count();
      for (const link of links.values()) link.remember();
      await nft(
        tableScript(
          table,
          [...links.values()].map((link) => link.rules),
        ),
      );
    });
  return {
    async open(options: LinkOptions): Promise<ProxyLink> {
      refuseUnsupported(options);
      if (links.has(options.name)) {
        throw new FleetError("proxy-address", `there is a link ${options.name} already`);
      }
      await prepareHost(options);
      const link = await NftLink.open(options, {
        clock: parts.clock,
        apply,
        checkTuning: (tuning) => refuseUnsupported({ ...options, tuning }),
        count: () => inTurn(count),
        ended: () => {
          links.delete(options.name);
          return apply();
        },
      });
      links.set(options.name, link);
      await apply();
      return link;
    },
    async close() {
      await Promise.all([...links.values()].map((link) => link.close()));
      await last;
      await nft(removeTableScript(table));
    },
  };
}

function refuseUnsupported(options: LinkOptions): void {
  const refuse = (what: string) =>
    new FleetError(
      "proxy-unsupported",
      `the nft data plane cannot do ${what} (link ${options.name}): use the node data plane`,
    );
  for (const { type, ...endpoint } of options.endpoints) {
    if (type === "unix" || type === "fd") throw refuse(`${type} endpoints`);
    if ("host" in endpoint && endpoint.host === "::1")
      throw refuse("endpoints on ::1, which the kernel does not route");
  }
  for (const [option, isUnsupported] of UNSUPPORTED) {
    const value = options.tuning?.[option];
    if (value !== undefined && isUnsupported(value)) throw refuse(`${option}=${value}`);
  }
}

/** Lets packets sent to the loopback leave the machine, and keeps those of others from coming in that way. */
async function prepareHost(options: LinkOptions): Promise<void> {
  const hosts = options.endpoints.map((endpoint) => ("host" in endpoint ? endpoint.host : ""));
  if (hosts.some(isLoopback)) {
    await nft(guardScript);
    await writeFile("/proc/sys/net/ipv4/conf/all/route_localnet", "1");
  }
  if (hosts.every(isLoopback)) return;
  const forwards = await readFile("/proc/sys/net/ipv4/ip_forward", "utf8");
  if (forwards.trim() === "1") return;
  throw new FleetError(
    "proxy-unsupported",
    `the nft data plane serves other machines only where the kernel forwards (link ${options.name}): sysctl net.ipv4.ip_forward=1`,
  );
}

/** Gives what it said. `proxy-failed` says what it refused. */
function nft(script: string, args: readonly string[] = ["-f", "-"]): Promise<string> {
  return runProgram("nft", args, script);
}

/** First packets of connections, by counter's name. */
function parseCounters(json: string): ReadonlyMap<string, number> {
  const { nftables } = JSON.parse(json) as {
    readonly nftables: readonly {
      readonly counter?: { readonly name: string; readonly packets: number };
    }[];
  };
  return new Map(
    nftables.flatMap(({ counter }) =>
      counter === undefined ? [] : [[counter.name, counter.packets] as const],
    ),
  );
}
