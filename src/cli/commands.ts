import type { CommandSpec } from "./command-spec.ts";
import { JOURNAL_FORMATS } from "./journal-formats.ts";
import type { OptionSpec } from "./options.ts";

const NO_BLOCK: OptionSpec = { flags: "--no-block", description: "do not wait" };
const BLOCKING: readonly OptionSpec[] = [
  NO_BLOCK,
  { flags: "--wait", description: "wait all the same, whatever FLEETCTL_NO_BLOCK says" },
  {
    flags: "--block-attempts <n>",
    description: "wait at most n times 2 seconds (0: as long as progress is possible)",
    value: "attempts",
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
const STDIN_NAME: OptionSpec = {
  flags: "--name <unit>",
  description: "of the unit whose file comes on standard input, in place of FILE",
};
const SIGN: OptionSpec = { flags: "--sign", description: "ignored", hidden: true };
const MACHINE: OptionSpec = { flags: "--machine <id>", description: "on this machine only" };
const SSH_PORT: OptionSpec = {
  flags: "--ssh-port <port>",
  description: "of sshd, where it is used",
  value: "port",
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
    options: [REPLACE, LENIENT, STDIN_NAME, SIGN],
    examples: [
      "submit web.service",
      "submit --replace web@.service",
      "submit units/",
      "submit --name web.service - < web.unit",
    ],
    load: async () => (await import("./commands/create.ts")).submit,
  },
  {
    name: "load",
    args: "<unit...>",
    summary: "Schedule units on machines, submitting them first if necessary",
    options: [REPLACE, LENIENT, STDIN_NAME, SIGN, ...BLOCKING],
    examples: ["load web.service"],
    load: async () => (await import("./commands/create.ts")).load,
  },
  {
    name: "start",
    args: "<unit...>",
    summary: "Start units, submitting and loading them first if necessary",
    description:
      "Succeeds once systemd reports each unit active (a oneshot: finished well). What cannot be placed or fails is named with its reason.",
    options: [REPLACE, LENIENT, STDIN_NAME, SIGN, ...BLOCKING],
    examples: ["start web.service", "start web@{1..3}", "start --timeout 30 db.service"],
    load: async () => (await import("./commands/create.ts")).start,
  },
  {
    name: "stop",
    args: "<unit...>",
    summary: "Stop units; they stay loaded on their machines",
    options: BLOCKING,
    examples: ["stop web.service", "stop 'web@*'"],
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
    examples: ["status web.service", "status 'web@*'", "status global.service@1234abcd"],
    load: async () => (await import("./commands/show.ts")).status,
  },
  {
    name: "journal",
    args: "<unit...>",
    summary: "Print the journal of units, from every machine that has or had them",
    description:
      "Several units, patterns, templates (web@: all instances) and UNIT@MACHINE; lines come by time. Also of units that have moved or were destroyed. -f follows a unit when it moves.",
    options: [
      {
        flags: "-n, --lines <n>",
        description: "so many lines, or all (default 10)",
        value: "lines",
      },
      { flags: "-f, --follow", description: "go on printing what is added" },
      { flags: "--since <time>", description: "as journalctl's: -1h, today, 2026-11-21 08:00" },
      { flags: "--until <time>", description: "likewise" },
      { flags: "-p, --priority <level>", description: "err, warning, 3, warning..err, ..." },
      { flags: "-g, --grep <pattern>", description: "lines whose message matches" },
      {
        flags: "-o, --output <format>",
        description: "as journalctl's",
        choices: JOURNAL_FORMATS,
      },
      { flags: "--sudo", description: "where ssh is needed, run journalctl by sudo" },
      MACHINE,
      SSH_PORT,
    ],
    examples: [
      "journal web.service",
      "journal -f -n 100 web@ db.service",
      "journal --since -1h -p err 'web@*'",
      "journal global.service@1234abcd",
    ],
    load: async () => (await import("./commands/journal.ts")).journal,
  },
  {
    name: "ssh",
    args: "[target] [command...]",
    summary: "Open a shell or run a command on a machine, or where a unit is",
    description:
      "Runs the system's ssh, so ~/.ssh/config holds. One word of command is taken apart by the remote shell; of several, each arrives as it is.",
    options: [
      { flags: "--machine <machine>", description: "the machine" },
      { flags: "--unit <unit>", description: "the machine that has this unit" },
      { flags: "-A, --forward-agent", description: "let the machine use this ssh-agent" },
      SSH_PORT,
    ],
    plain: true,
    passThrough: true,
    examples: ["ssh 1234abcd", "ssh web.service ls -l /srv", "ssh web.service 'ps ax | wc -l'"],
    load: async () => (await import("./commands/remote.ts")).ssh,
  },
  {
    name: "reload",
    args: "<unit...>",
    summary: "Let units re-read their own configuration (ExecReload=)",
    options: [MACHINE, SSH_PORT],
    examples: ["reload web.service", "reload global.service@1234abcd"],
    load: async () => (await import("./commands/act.ts")).reload,
  },
  {
    name: "kill",
    args: "<unit...>",
    summary: "Send a signal to the processes of units",
    options: [
      { flags: "-s, --signal <signal>", description: "its name or number (default SIGTERM)" },
      MACHINE,
      SSH_PORT,
    ],
    examples: ["kill -s HUP web.service"],
    load: async () => (await import("./commands/act.ts")).kill,
  },
  {
    name: "reset-failed",
    args: "<unit...>",
    summary: "Clear the failed state and the start limit of units",
    options: [MACHINE, SSH_PORT],
    examples: ["reset-failed web.service"],
    load: async () => (await import("./commands/act.ts")).resetFailed,
  },
  {
    name: "diff",
    args: "<file...>",
    summary: "Show what --replace would change: the registry's units against files",
    options: [STDIN_NAME],
    examples: ["diff web.service", "diff units/"],
    load: async () => (await import("./commands/diff.ts")).diff,
  },
  {
    name: "events",
    args: "[unit...]",
    summary: "Print what happens to units and machines, as it happens",
    examples: ["events", "events 'web@*'", "events -o json"],
    load: async () => (await import("./commands/events.ts")).events,
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
    name: "list-groups",
    summary: "List the folders of synced trees, each a group of units",
    description:
      "Commands that take units take GROUP/ for all units of a folder and those below it.",
    options: listing("group,units,active,blocked"),
    examples: ["list-groups", "stop web/"],
    load: async () => (await import("./commands/list.ts")).listGroups,
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
    name: "explain",
    args: "<unit...>",
    summary: "Say why units are where they are, and what keeps them from other machines",
    description:
      "Of every machine: whether the unit is there or would fit, and if not, why not. Of a unit that no machine takes, also what would have to change. " +
      "More than 50 machines are counted by reason.",
    options: [
      { flags: "-l, --full", description: "every machine by itself, ids not shortened" },
      { flags: "--no-legend", description: "leave out the header" },
    ],
    examples: ["explain web.service", "explain -o json 'web@*'"],
    load: async () => (await import("./commands/explain.ts")).explain,
  },
  {
    name: "sync",
    args: "<tree> [source] [version]",
    summary: "Make a directory of unit files under git, or a plain one, what the cluster runs",
    description:
      "TREE is a directory, or a URL; #BRANCH or #BRANCH:PATH may follow. Everything in it is checked before anything is touched, and only units of this source are. " +
      "sync status, history SOURCE, rollback SOURCE [COMMIT], suspend SOURCE and resume SOURCE look at what has been synced and steer it.",
    options: [
      { flags: "--plan", description: "show what would be done, and do nothing" },
      {
        flags: "--watch",
        description: "go on: follow the tree, and put right what is changed by hand",
      },
      {
        flags: "--prune",
        description: "destroy units of this source that are no longer in the tree",
      },
      {
        flags: "--prune-limit <percent>",
        description: "of them at once (default 50)",
        value: "count",
      },
      { flags: "--adopt", description: "take over units that somebody else submitted" },
      { flags: "--no-heal", description: "show what was changed by hand, and leave it" },
      { flags: "--dirty", description: "what lies in the work tree, committed or not" },
      {
        flags: "--require-signed <file>",
        description: "only commits signed by a key in it (gpg export, or ssh allowed_signers)",
      },
      { flags: "--name <source>", description: "what to call it (default: the last part of TREE)" },
      {
        flags: "--notify <command>",
        description: "run it after each outcome, with FLEET_SYNC_* in its environment",
      },
      {
        flags: "--poll <seconds>",
        description: "how often to look where nothing tells (default 30)",
        value: "seconds",
      },
      {
        flags: "--timeout <seconds>",
        description: "how long a new version may take to be well (default 300)",
        value: "seconds",
      },
    ],
    examples: [
      "sync --plan .",
      "sync --prune --watch /srv/units",
      "sync https://example.org/units.git#main:prod",
    ],
    load: async () => (await import("./commands/sync.ts")).sync,
  },
  {
    name: "plan",
    args: "<unit...>",
    summary: "Show what a submit or start would do and where units would go, without doing it",
    description:
      "Units that others would push aside are shown too. The exit status is what the planned command's would be.",
    options: [
      { flags: "--start", description: "as if they were started; without it, submitted" },
      REPLACE,
      LENIENT,
      STDIN_NAME,
      { flags: "-l, --full", description: "do not shorten ids" },
      { flags: "--no-legend", description: "leave out the header" },
    ],
    examples: ["plan --start web.service", "plan --start --replace units/"],
    load: async () => (await import("./commands/plan.ts")).plan,
  },
  {
    name: "verify",
    args: "<file...>",
    summary: "Check unit files as submit would, and with systemd-analyze where that is present",
    description:
      "Names everything that is wrong, with its place, and asks no daemon. What systemd says is passed on and decides nothing without --strict: " +
      "a program that is missing here may be on the machines. Exit status 2 when a file would be refused.",
    options: [
      { flags: "--strict", description: "exit with 2 also for what systemd says" },
      LENIENT,
      STDIN_NAME,
    ],
    examples: ["verify web.service", "verify --strict units/"],
    load: async () => (await import("./commands/verify.ts")).verify,
  },
  {
    name: "cordon",
    args: "<machine...>",
    summary: "Give machines no new units; those they have stay",
    description:
      "A machine is named by its id or the beginning of it, else by host name or address. Cordons outlast restarts.",
    examples: ["cordon 1234abcd", "cordon node-3.example.net"],
    load: async () => (await import("./commands/machines.ts")).cordon,
  },
  {
    name: "uncordon",
    args: "<machine...>",
    summary: "Let machines take new units again; ends draining too",
    examples: ["uncordon 1234abcd"],
    load: async () => (await import("./commands/machines.ts")).uncordon,
  },
  {
    name: "drain",
    args: "<machine>",
    summary: "Move the units of a machine to others, one after the other",
    description:
      "Each unit, with those tied to it by MachineOf=, is stopped once another machine has its place, and has to run there before the next one goes. Finished oneshots and units bound to the machine stay; global units stop last. What nobody takes runs on. The machine stays drained until uncordon, also when this command ends earlier.",
    options: BLOCKING,
    examples: ["drain 1234abcd", "drain --timeout 300 node-3.example.net", "drain --no-block 1234"],
    load: async () => (await import("./commands/drain.ts")).drain,
  },
  {
    name: "rebalance",
    summary: "Move units from the fullest machines to the emptiest, one after the other",
    description:
      "Counts Weight= and keeps to all that units ask for. Nothing is moved for balance without this command; a second run moves nothing.",
    options: [
      { flags: "--plan", description: "only say what would be moved" },
      { flags: "--max-moves <n>", description: "so many moves at most", value: "count" },
    ],
    examples: ["rebalance --plan", "rebalance --max-moves 5"],
    load: async () => (await import("./commands/rebalance.ts")).rebalance,
  },
  {
    name: "set-metadata",
    args: "<machine> <change...>",
    summary: "Set metadata of a machine; it outlasts restarts and overrides fleet.conf",
    description:
      "key=value sets a key, key- hides it, also where the machine has it by itself. Units that ask for what is gone leave the machine.",
    options: [{ flags: "--reset", description: "let keys count again as the machine has them" }],
    examples: [
      "set-metadata 1234abcd disk=ssd zone=b",
      "set-metadata 1234abcd disk-",
      "set-metadata --reset 1234abcd disk zone",
    ],
    load: async () => (await import("./commands/machines.ts")).setMetadata,
  },
  {
    name: "evacuate",
    args: "<machine...>",
    summary: "Give up machines that are away, so that others get their units at once",
    description:
      "When many machines vanish at once the engine waits for them to return, or for this. Without --confirm it says what it would do. " +
      "A machine that is only cut off runs its units on until it returns: then they have run twice.",
    options: [{ flags: "--confirm", description: "do it" }],
    examples: ["evacuate 1234abcd", "evacuate --confirm 1234abcd 5678cdef"],
    load: async () => (await import("./commands/machines.ts")).evacuate,
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
    name: "graph",
    args: "<unit>",
    summary: "Draw what a unit needs and what needs it, through services too",
    description:
      "Relations of unit files (Requires=, Wants=, After=, PartOf=, MachineOf= ...) among units of the cluster, and links from consumers over services to the units behind them.",
    options: [
      {
        flags: "-o, --output <format>",
        description: "how to draw",
        choices: ["tree", "dot", "mermaid", "json"],
      },
    ],
    examples: ["graph web.service", "graph web.service -o dot | dot -Tsvg > web.svg"],
    load: async () => (await import("./commands/graph.ts")).graph,
  },
  {
    name: "register",
    args: "<service/instance> <host:port>",
    summary: "Register an endpoint of something outside of the cluster",
    description:
      "It stays, unchecked, until it is deregistered. What runs on a machine of the cluster is registered by fleet-sidekick.",
    options: [
      { flags: "--weight <n>", description: "share among its tier (100)", value: "count" },
      {
        flags: "--tier <n>",
        description: "priority: the lowest gets everything (0)",
        value: "count",
      },
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
  {
    name: "completion",
    args: "<shell>",
    summary: "Print the completion script for bash, zsh or fish",
    plain: true,
    examples: ["completion bash > /etc/bash_completion.d/fleetctl-ts", "completion fish"],
    load: async () => (await import("./commands/complete.ts")).completion,
  },
  {
    name: "__complete",
    args: "[word...]",
    summary: "Print what a shell may complete the last word to",
    hidden: true,
    plain: true,
    passThrough: true,
    examples: [],
    load: async () => (await import("./commands/complete.ts")).completeFrom(COMMANDS),
  },
  {
    name: "fd-forward",
    args: "<path>",
    summary: "Connect standard input and output to a unix socket",
    description: "What fleetctl runs on the host of its --tunnel.",
    plain: true,
    examples: ["fd-forward /run/fleet.sock"],
    load: async () => (await import("./commands/remote.ts")).fdForward,
  },
];
