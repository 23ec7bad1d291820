import type { ClusterState } from "../cluster/cluster-state.ts";
import type { Dirty } from "../cluster/dirty.ts";
import type { Outlook } from "../cluster/outlook.ts";
import type { UnitView } from "../cluster/views.ts";
import type { Registry } from "../registry/registry.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { ActionRequest, Notice, RejoinRequest } from "./protocol.ts";
import type { UnitLogs } from "./unit-logs.ts";

/** What the API has to know of the daemon it is part of. */
export interface DaemonPort {
  readonly machineId: string;
  /** Of fleet-ts, for the Server header. */
  readonly version: string;
  /** The registry is embedded, so there is no other machine. */
  readonly singleMachine: boolean;
  /** What operators have to know and only the daemon does, above all that it is detached. */
  notices(): readonly Notice[];
  /** Names of the units concerned. Throws FleetError `conflict` when the machine is not detached. */
  rejoin(mode: RejoinRequest["mode"]): Promise<readonly string[]>;
  /** With a unit this machine holds, at once. Throws FleetError `systemd-refused` in systemd's words. */
  act(unit: string, action: ActionRequest, signal: AbortSignal): Promise<void>;
}

/** How one daemon reaches the API of another. */
export interface PeerAccess {
  /** Undefined: plain HTTP, which only an `insecure` cluster speaks. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
}

export type PreviewPlan = (
  cluster: ClusterState,
  options: { readonly dirty: Dirty; readonly wallMs: number },
) => readonly Outlook[];

export interface ApiContext {
  readonly registry: Registry;
  readonly daemon: DaemonPort;
  readonly logs: UnitLogs;
  readonly peers: PeerAccess;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What the engine would make of a cluster state, which it changes (src/engine/preview.ts). */
  readonly previewPlan: PreviewPlan;
  /** What requests that tell of a new version of a source are signed with; undefined: none are taken. */
  readonly syncSecret: string | undefined;
  /** Entries of a page of /fleet/v1 (fleet's `token_limit`). */
  readonly pageLimit: number;
}

/** `units`: those that the answer shows. */
export function notices(
  { daemon, registry }: ApiContext,
  state: {
    readonly leader: boolean;
    readonly reachable: boolean;
    readonly units?: readonly UnitView[];
  },
): readonly Notice[] {
  const all: Notice[] = [...daemon.notices()];
  const add = (code: Notice["code"], message: string) => {
    if (!all.some((notice) => notice.code === code)) all.push({ code, message });
  };
  if (daemon.singleMachine) add("single-machine", `single machine: ${registry.description}`);
  if (!state.reachable) {
    add("registry-away", `no answer from ${registry.description}: what is shown may be old`);
  } else if (!state.leader) {
    add("no-engine", "no engine is running: nothing is placed or moved until one leads");
  }
  const held = (state.units ?? []).find(({ blocked }) =>
    blocked.some(({ reason }) => reason.type === "loss-held"),
  );
  if (held !== undefined) {
    add(
      "loss-held",
      `machines were lost and their units (${held.name}, ...) are not given to others yet`,
    );
  }
  return all;
}
