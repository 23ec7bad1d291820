import { isIPv4, isIPv6 } from "node:net";
import { compareText, type Endpoint, isUsable } from "../services/endpoint.ts";
import { dnsLabel } from "../services/sky-dns.ts";
import { type AskedName, DOMAIN } from "./names.ts";

/** Types that somebody may ask of us; `ANY` gets what there is, all else of a name that exists is nothing. */
export interface DnsQuestion {
  /** As it was asked: answers repeat its letters' case, by which some resolvers tell forged ones. */
  readonly name: string;
  readonly type: string;
  /** `IN`, or not for us. */
  readonly class: string;
}

export type DnsRecord =
  | {
      readonly type: "A" | "AAAA" | "CNAME";
      readonly name: string;
      readonly ttl: number;
      readonly data: string;
    }
  | { readonly type: "SRV"; readonly name: string; readonly ttl: number; readonly data: SrvData }
  | { readonly type: "SOA"; readonly name: string; readonly ttl: number; readonly data: SoaData };

interface SrvData {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

interface SoaData {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export interface DnsAnswer {
  readonly code: "NOERROR" | "NXDOMAIN" | "REFUSED" | "SERVFAIL";
  readonly answers: readonly DnsRecord[];
  /** What says for how long that there is nothing may be remembered. */
  readonly authorities: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

/** What the registry knows behind a name. `unknown`: it could not be asked, and never has been. */
export type NameFacts =
  | { readonly type: "none" | "unknown" }
  | { readonly type: "endpoints"; readonly endpoints: readonly Endpoint[] }
  | { readonly type: "addresses"; readonly addresses: readonly string[] };

/** How long others may believe an answer: about as long as a check takes to find a dead backend. */
const TTL_S = 2;
const TTL_MAX_S = 300;
const NEGATIVE_TTL_S = 1;
/** Tag of an endpoint that says it otherwise, in seconds. */
const TTL_TAG = "dns-ttl";

const NOTHING = { answers: [], authorities: [], additionals: [] } as const;
export const REFUSAL: DnsAnswer = { code: "REFUSED", ...NOTHING };
const FAILURE: DnsAnswer = { code: "SERVFAIL", ...NOTHING };

/**
 * Pure. `turn` is another number for each answer: addresses rotate by it, as many clients take the first. Only usable endpoints are
 * told; of those, an address carries no priority, so A and AAAA are the best priority's alone.
 */
export function answerTo(
  question: DnsQuestion,
  asked: AskedName,
  facts: NameFacts,
  turn: number,
): DnsAnswer {
  if (asked.type === "outside" || question.class !== "IN") return REFUSAL;
  if (asked.type === "nothing") return nothing("NXDOMAIN");
  if (asked.type === "apex") {
    const isSoa = question.type === "SOA" || question.type === "ANY";
    return isSoa ? positive([{ ...soa(), name: question.name }]) : nothing("NOERROR");
  }
  if (asked.type === "branch") return nothing("NOERROR");
  switch (facts.type) {
    case "unknown":
      return FAILURE;
    case "none":
      return nothing("NXDOMAIN");
    case "addresses":
      return found(addressRecords(question, facts.addresses, { ttl: TTL_S, turn }));
    case "endpoints":
      return asked.type === "service"
        ? serviceAnswer(question, asked, facts.endpoints, turn)
        : nothing("NXDOMAIN");
  }
}

function serviceAnswer(
  question: DnsQuestion,
  asked: Extract<AskedName, { type: "service" }>,
  endpoints: readonly Endpoint[],
  turn: number,
): DnsAnswer {
  const { instance, protocol } = asked;
  const wanted = instance === undefined ? undefined : dnsLabel(instance);
  const named = endpoints.filter(
    (one) =>
      (wanted === undefined || dnsLabel(one.instance) === wanted) &&
      (protocol === undefined || one.protocol === protocol),
  );
  if (named.length === 0) return nothing("NXDOMAIN");
  const usable = named.filter(isUsable);
  if (question.type === "SRV") return srvAnswer(question, usable);
  const best = Math.min(...usable.map(({ priority }) => priority));
  const tier = usable.filter(({ priority }) => priority === best);
  const ttl = Math.min(...tier.map(ttlOf));
  const hosts = tier.map(({ host }) => host);
  const records = addressRecords(question, hosts, { ttl, turn });
  const name = hosts.find((host) => !isAddress(host));
  // Only where nothing else could be said, and to be forgotten at once: beside a CNAME a name has no other records.
  if (name === undefined || hosts.some(isAddress)) return found(records);
  return positive([{ type: "CNAME", name: question.name, ttl: 0, data: name }]);
}

/** With the addresses of their targets, so that one question is enough. */
function srvAnswer({ name }: DnsQuestion, usable: readonly Endpoint[]): DnsAnswer {
  const ordered = [...usable].sort(
    (a, b) => a.priority - b.priority || compareText(a.instance, b.instance),
  );
  const answers = ordered.map((one): DnsRecord => {
    const { priority, weight, port } = one;
    return {
      type: "SRV",
      name,
      ttl: ttlOf(one),
      data: { priority, weight, port, target: targetOf(one) },
    };
  });
  if (answers.length === 0) return nothing("NOERROR");
  const additionals = ordered.flatMap((one): readonly DnsRecord[] => {
    const type = addressType(one.host);
    return type === undefined
      ? []
      : [{ type, name: targetOf(one), ttl: ttlOf(one), data: one.host }];
  });
  return { ...positive(answers), additionals };
}

function targetOf({ host, instance, service }: Endpoint): string {
  return isAddress(host) ? `${dnsLabel(instance)}.${service}.service.${DOMAIN}` : host;
}

function addressRecords(
  { name, type: wanted }: DnsQuestion,
  addresses: readonly string[],
  { ttl, turn }: { readonly ttl: number; readonly turn: number },
): readonly DnsRecord[] {
  const records = [...new Set(addresses)].flatMap((data): readonly DnsRecord[] => {
    const type = addressType(data);
    return type === undefined || (wanted !== type && wanted !== "ANY")
      ? []
      : [{ type, name, ttl, data }];
  });
  const first = records.length === 0 ? 0 : turn % records.length;
  return [...records.slice(first), ...records.slice(0, first)];
}

function addressType(host: string): "A" | "AAAA" | undefined {
  return isIPv4(host) ? "A" : isIPv6(host) ? "AAAA" : undefined;
}

function isAddress(host: string): boolean {
  return addressType(host) !== undefined;
}

function ttlOf({ tags }: Endpoint): number {
  const said = tags[TTL_TAG] ?? "";
  return /^\d{1,9}$/.test(said) ? Math.min(Number(said), TTL_MAX_S) : TTL_S;
}

function found(answers: readonly DnsRecord[]): DnsAnswer {
  return answers.length === 0 ? nothing("NOERROR") : positive(answers);
}

function positive(answers: readonly DnsRecord[]): DnsAnswer {
  return { ...NOTHING, code: "NOERROR", answers };
}

function nothing(code: "NOERROR" | "NXDOMAIN"): DnsAnswer {
  return { ...NOTHING, code, authorities: [soa()] };
}

function soa(): DnsRecord {
  return {
    type: "SOA",
    name: DOMAIN,
    ttl: NEGATIVE_TTL_S,
    data: {
      mname: `ns.${DOMAIN}`,
      rname: `hostmaster.${DOMAIN}`,
      ...{ serial: 1, refresh: 60, retry: 60, expire: 60, minimum: NEGATIVE_TTL_S },
    },
  };
}
