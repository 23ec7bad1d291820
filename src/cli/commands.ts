import type { CommandRun } from "./context.ts";

/** One command: what commander has to know of it, and where its code is. Code is loaded when it runs. */
export interface CommandSpec {
  readonly name: string;
  /** In commander's notation. */
  readonly args?: string;
  readonly summary: string;
  readonly description?: string;
  readonly options?: readonly OptionSpec[];
  readonly examples: readonly string[];
  readonly load: () => Promise<CommandRun>;
}

export interface OptionSpec {
  readonly flags: string;
  readonly description: string;
  /** Numbers: whole and not negative unless `seconds`. */
  readonly value?: "count" | "seconds";
  readonly choices?: readonly string[];
  readonly hidden?: boolean;
}

const NO_BLOCK: OptionSpec = { flags: "--no-block", description: "do not wait" };
const BLOCKING: readonly OptionSpec[] = [
  NO_BLOCK,
  {
    flags: "--block-attempts <n>",
    description: "wait at most n times 2 seconds (0: as long as progress is possible)",
    value: "count",
  },
  { flags: "--timeout <seconds>", description: "wait at most so long", value: "seconds" },
];
const REPLACE: OptionSpec = {
  flags: "--replace",
  description: "replace the unit where the local file differs",
};
const LENIENT: OptionSpec = {
  flags: "--lenient",
  description: "only warn of unknown options and malformed metadata in [X-Fleet], as fleet did",
};
const MACHINE: OptionSpec = { flags: "--machine <id>", description: "on this machine only" };
const SSH_PORT: OptionSpec = {
  flags: "--ssh-port <port>",
  description: "where the machine's API is out of reach",
  value: "count",
};

function listing(fields: string): readonly OptionSpec[] {
  return [
    { flags: "--fields <fields>", description: `columns, comma separated (default ${fields})` },
    { flags: "-l, --full", description: "do not shorten ids and hashes" },
    { flags: "--no-legend", description: "leave out the header" },
    {
      flags: "-o, --output <format>",
      description: "how to print",
      choices: ["table", "json"],
    },
  ];
}

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: "submit",
    args: "<unit...>",
    summary: "Upload units to the cluster without starting them",
    description:
      "A directory UNIT.d/ beside the file is taken along. An instance (web@1) takes its own file, the registry's template, or the template on disk.",
    options: [REPLACE, LENIENT],
    examples: ["submit web.service", "submit --replace web@.service"],
    load: async () => (await import("./commands/create.ts")).submit,
  },
  {
    name: "load",
    args: "<unit...>",
    summary: "Schedule units on machines, submitting them first if necessary",
    options: [REPLACE, LENIENT, ...BLOCKING],
    examples: ["load web.service"],
    load: async () => (await import("./commands/create.ts")).load,
  },
  {
    name: "start",
    args: "<unit...>",
    summary: "Start units, submitting and loading them first if necessary",
    description:
      "Succeeds once systemd reports each unit active (a oneshot: finished well). What cannot be placed or fails is named with its reason.",
    options: [REPLACE, LENIENT, ...BLOCKING],
    examples: ["start web.service", "start web@{1..3}", "start --timeout 30 db.service"],
    load: async () => (await import("./commands/create.ts")).start,
  },
  {
    name: "stop",
    args: "<unit...>",
    summary: "Stop units; they stay loaded on their machines",
    options: BLOCKING,
    examples: ["stop web.service"],
    load: async () => (await import("./commands/withdraw.ts")).stop,
  },
  {
    name: "unload",
    args: "<unit...>",
    summary: "Stop units and take them off their machines; they stay submitted",
    options: BLOCKING,
    examples: ["unload web.service"],
    load: async () => (await import("./commands/withdraw.ts")).unload,
  },
  {
    name: "destroy",
    args: "<unit...>",
    summary: "Stop units, take them off their machines and delete them",
    options: BLOCKING,
    examples: ["destroy web.service", "destroy --no-block web@{1..3}"],
    load: async () => (await import("./commands/withdraw.ts")).destroy,
  },
  {
    name: "restart",
    args: "<unit...>",
    summary: "Restart units where they run",
    options: BLOCKING,
    examples: ["restart web.service"],
    load: async () => (await import("./commands/restart.ts")).restart,
  },
  {
    name: "cat",
    args: "<unit>",
    summary: "Print the file of a unit as it was submitted",
    examples: ["cat web.service"],
    load: async () => (await import("./commands/show.ts")).cat,
  },
  {
    name: "status",
    args: "<unit...>",
    summary: "Print what systemctl says of units on their machines",
    options: [MACHINE, SSH_PORT],
    examples: ["status web.service"],
    load: async () => (await import("./commands/show.ts")).status,
  },
  {
    name: "journal",
    args: "<unit>",
    summary: "Print the journal of a unit from its machine",
    options: [
      { flags: "-n, --lines <n>", description: "so many lines (default 10)", value: "count" },
      { flags: "-f, --follow", description: "go on printing what is added" },
      { flags: "-o, --output <format>", description: "as journalctl's (default short)" },
      MACHINE,
      SSH_PORT,
    ],
    examples: ["journal web.service", "journal -f -n 100 web.service"],
    load: async () => (await import("./commands/show.ts")).journal,
  },
  {
    name: "list-units",
    summary: "List the state of units on their machines",
    options: listing("unit,machine,active,sub"),
    examples: ["list-units", "list-units --no-legend --fields unit,active"],
    load: async () => (await import("./commands/list.ts")).listUnits,
  },
  {
    name: "list-unit-files",
    summary: "List submitted units: what is wanted, what is, and where",
    options: listing("unit,hash,dstate,state,target"),
    examples: ["list-unit-files", "list-unit-files --fields unit,reason"],
    load: async () => (await import("./commands/list.ts")).listUnitFiles,
  },
  {
    name: "list-machines",
    summary: "List the machines of the cluster",
    options: [
      ...listing("machine,ip,metadata"),
      { flags: "-a, --all", description: "also those that are away" },
    ],
    examples: ["list-machines", "list-machines --full --fields machine,state,version"],
    load: async () => (await import("./commands/list.ts")).listMachines,
  },
  {
    name: "services",
    summary: "List services: how many of their endpoints can be used, and where they are",
    options: listing("service,usable,endpoints,where"),
    examples: ["services", "services -o json"],
    load: async () => (await import("./commands/services.ts")).services,
  },
  {
    name: "service",
    args: "<name>",
    summary: "List the endpoints of a service: health, where, since when",
    options: listing("instance,address,health,since,unit,machine"),
    examples: ["service db", "service db --fields instance,health,detail,weight,priority,tags"],
    load: async () => (await import("./commands/services.ts")).service,
  },
  {
    name: "links",
    summary: "Draw who consumes which service, and what stands behind it",
    options: [
      {
        flags: "-o, --output <format>",
        description: "how to draw",
        choices: ["tree", "dot", "mermaid", "json"],
      },
    ],
    examples: ["links", "links -o dot | dot -Tsvg > links.svg"],
    load: async () => (await import("./commands/services.ts")).links,
  },
  {
    name: "register",
    args: "<service/instance> <host:port>",
    summary: "Register an endpoint of something outside of the cluster",
    description:
      "It stays, unchecked, until it is deregistered. What runs on a machine of the cluster is registered by fleet-sidekick.",
    options: [
      { flags: "--weight <n>", description: "share among its tier (100)", value: "count" },
      { flags: "--tier <n>", description: "priority: the lowest gets everything (0)", value: "count" },
    ],
    examples: ["register mail/provider mail.example.org:25", "register dns/old 192.0.2.7:53/udp"],
    load: async () => (await import("./commands/services.ts")).register,
  },
  {
    name: "deregister",
    args: "<service/instance>",
    summary: "Take away an endpoint that was registered by hand",
    examples: ["deregister mail/provider"],
    load: async () => (await import("./commands/services.ts")).deregister,
  },
  {
    name: "rejoin",
    summary: "Let this machine take part again after it was detached",
    options: [
      { flags: "--keep", description: "submit again what the machine holds" },
      { flags: "--discard", description: "stop and remove what the machine holds" },
    ],
    examples: ["rejoin --keep"],
    load: async () => (await import("./commands/machines.ts")).rejoin,
  },
  {
    name: "forget",
    args: "<machine>",
    summary: "Forget a machine that is away for good",
    examples: ["forget 1234abcd"],
    load: async () => (await import("./commands/machines.ts")).forget,
  },
];
