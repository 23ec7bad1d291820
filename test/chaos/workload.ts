/** What kind of life a unit leads, and so what may be asked of it. */
export type Kind =
  | "plain"
  | "strict"
  | "global"
  | "oneshot"
  | "apart"
  | "few"
  | "socket"
  | "activated";

export interface ChaosUnit {
  readonly name: string;
  readonly kind: Kind;
  readonly target: "launched" | "loaded";
  /** The file; another version restarts the unit. */
  readonly text: (version: number) => string;
}

/** The time stands in the line: journald's own may be late. */
function heartbeat(everySeconds: number, more: string): ChaosUnit["text"] {
  const script = `echo up $$BASHPID $$EPOCHREALTIME; while sleep ${everySeconds}; do echo beat $$BASHPID $$EPOCHREALTIME; done`;
  return (version) =>
    `[Service]\nEnvironment=VERSION=${version}\nExecStart=/bin/bash -c '${script}'\nTimeoutStopSec=1s\n${more}`;
}

function several(
  kind: Kind,
  names: readonly string[],
  text: ChaosUnit["text"],
): readonly ChaosUnit[] {
  return names.map((name) => ({ name: `chaos-${name}`, kind, target: "launched", text }));
}

function numbered(count: number, name: (index: number) => string): readonly string[] {
  return Array.from({ length: count }, (_, index) => name(index + 1));
}

const TIMER =
  "[Timer]\nOnActiveSec=1\nOnUnitActiveSec=5\nAccuracySec=100ms\n[X-Fleet]\nMachineOf=chaos-tick.service\n";

/** 60 units for five machines. */
export const WORKLOAD: readonly ChaosUnit[] = [
  ...several(
    "plain",
    numbered(29, (n) => `plain${n}.service`),
    heartbeat(2, "Restart=always\n"),
  ),
  ...several(
    "strict",
    numbered(6, (n) => `strict${n}.service`),
    heartbeat(0.5, "[X-Fleet]\nFencing=strict\n"),
  ),
  ...several(
    "global",
    numbered(3, (n) => `global${n}.service`),
    heartbeat(2, "[X-Fleet]\nGlobal=true\n"),
  ),
  ...several(
    "oneshot",
    numbered(6, (n) => `once${n}.service`),
    (version) =>
      `[Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironment=VERSION=${version}\nExecStart=/bin/bash -c 'echo up $$BASHPID $$EPOCHREALTIME'\n`,
  ),
  ...several(
    "apart",
    numbered(4, (n) => `apart@${n}.service`),
    heartbeat(2, "[X-Fleet]\nConflicts=chaos-apart@*.service\n"),
  ),
  ...several(
    "few",
    numbered(8, (n) => `few@${n}.service`),
    heartbeat(2, "[X-Fleet]\nMaxPerMachine=2\n"),
  ),
  {
    name: "chaos-door.service",
    kind: "activated",
    target: "loaded",
    text: () => "[Service]\nExecStart=/bin/sleep infinity\n",
  },
  ...several(
    "socket",
    ["door.socket"],
    () => "[Socket]\nListenStream=/run/chaos-door.sock\n[X-Fleet]\nMachineOf=chaos-door.service\n",
  ),
  {
    name: "chaos-tick.service",
    kind: "activated",
    target: "loaded",
    text: () => "[Service]\nType=oneshot\nExecStart=/bin/true\n",
  },
  ...several("socket", ["tick.timer"], () => TIMER),
];
