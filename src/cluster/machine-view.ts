import type { MachineView } from "./views.ts";

/** What the registry holds of one machine, decoded; `machine` only while it is present. */
export interface MachineFacts {
  readonly id: string;
  readonly machine:
    | {
        readonly address: string;
        readonly api?: string;
        readonly automatic: Readonly<Record<string, string>>;
        readonly metadata: Readonly<Record<string, string>>;
        readonly version: string;
        readonly leaving: boolean;
      }
    | undefined;
  readonly roster: { readonly address: string } | undefined;
  readonly operator:
    | {
        readonly metadata: Readonly<Record<string, string | null>>;
        readonly cordoned: boolean;
        readonly draining: boolean;
      }
    | undefined;
  readonly leader: boolean;
}

export function machineView(facts: MachineFacts): MachineView {
  const { machine, operator } = facts;
  return {
    id: facts.id,
    present: machine !== undefined,
    address: machine?.address ?? facts.roster?.address ?? "",
    metadata: effectiveMetadata(facts),
    version: machine?.version ?? "",
    leaving: machine?.leaving ?? false,
    cordoned: operator?.cordoned ?? false,
    draining: operator?.draining ?? false,
    ...(machine?.api === undefined ? {} : { api: machine.api }),
    leader: facts.leader,
  };
}

/** Automatic, then fleet.conf's, then what operators set; `null` hides what is below it. Sorted by key. */
export function effectiveMetadata(
  facts: Pick<MachineFacts, "machine" | "operator">,
): Readonly<Record<string, string>> {
  const values = new Map<string, string | null>([
    ...Object.entries(facts.machine?.automatic ?? {}),
    ...Object.entries(facts.machine?.metadata ?? {}),
    ...Object.entries(facts.operator?.metadata ?? {}),
  ]);
  const entries = [...values].flatMap(([key, value]): [string, string][] =>
    value === null ? [] : [[key, value]],
  );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
