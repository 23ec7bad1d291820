/** An option as commander has to know it. */
export interface OptionSpec {
  readonly flags: string;
  readonly description: string;
  /** Numbers: whole and not negative unless `seconds`; `lines`: such a number, or `all`; `attempts`: negative ones are 0, as in fleet. */
  readonly value?: "count" | "seconds" | "lines" | "port" | "attempts";
  readonly choices?: readonly string[];
  readonly hidden?: boolean;
}

export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--endpoint <url>",
    description: "API of fleetd-ts: unix:// or http(s)://, several comma separated",
  },
  {
    flags: "--request-timeout <seconds>",
    description: "for an answer of the API",
    value: "seconds",
  },
  { flags: "--ca-file <path>", description: "certificates that sign the API's" },
  { flags: "--cert-file <path>", description: "own certificate for the API" },
  { flags: "--key-file <path>", description: "key of that certificate" },
  {
    flags: "--tunnel <host>",
    description: "host[:port] to reach the API through by SSH; the endpoint is as seen from there",
  },
  { flags: "--ssh-username <name>", description: "for --tunnel, ssh, and machines without an API" },
  {
    flags: "--ssh-timeout <seconds>",
    description: "for a connection (default 10)",
    value: "seconds",
  },
  {
    flags: "--ssh-key-file <path>",
    description: "private key (default: ssh-agent's, and those of ~/.ssh)",
  },
  {
    flags: "--known-hosts-file <path>",
    description: "keys of hosts (default: ssh's, and ~/.fleetctl/known_hosts)",
  },
  {
    flags: "--strict-host-key-checking",
    description: "check the keys of hosts (default true; =false: take any)",
  },
  { flags: "--no-strict-host-key-checking", description: "the same as =false", hidden: true },
  { flags: "--debug", description: "print requests on standard error" },
  // Of fleetctl, for its etcd driver; what they said has no meaning any more.
  { flags: "--driver <name>", description: "API only", hidden: true },
  { flags: "--etcd-key-prefix <prefix>", description: "ignored", hidden: true },
  { flags: "--experimental-api", description: "ignored", hidden: true },
  { flags: "--etcd-cafile <path>", description: "old name of --ca-file", hidden: true },
  { flags: "--etcd-certfile <path>", description: "old name of --cert-file", hidden: true },
  { flags: "--etcd-keyfile <path>", description: "old name of --key-file", hidden: true },
];

const TIMEOUT: OptionSpec = {
  flags: "--timeout <seconds>",
  description: "take at most so long",
  value: "seconds",
};
/** For scripts that say so to every command. */
const WAIT: OptionSpec = { flags: "--wait", description: "as it is anyway", hidden: true };
const OUTPUT: OptionSpec = {
  flags: "-o, --output <format>",
  description: "how to print results",
  choices: ["text", "json"],
};

/** What every command has that does not say otherwise. */
export function commonOptions(spec: {
  readonly options?: readonly OptionSpec[];
  readonly plain?: boolean;
}): readonly OptionSpec[] {
  if (spec.plain === true) return [];
  const has = (name: string) => (spec.options ?? []).some(({ flags }) => flags.includes(name));
  return [OUTPUT, WAIT, TIMEOUT].filter(({ flags }) => !has(/--[a-z]+/.exec(flags)?.[0] ?? ""));
}
