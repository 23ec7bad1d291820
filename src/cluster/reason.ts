/**
 * Why a unit is not (or no longer) on a machine. Literal types, so that code can branch on them and tests can
 * name them; prose is made where they are printed (reason-text.ts).
 */
export type Reason = MachineReason | UnitReason;

/** Why a unit cannot be on one particular machine. */
export type MachineReason =
  | { readonly type: "machine-id-differs"; readonly required: string }
  | { readonly type: "machine-id-excluded"; readonly excluded: string }
  /** `requirement` as written: `disk=ssd`. */
  | { readonly type: "metadata-differs"; readonly requirement: string }
  /** MachineOf=: the peer is on another machine, or (global) not on this one. */
  | { readonly type: "peer-elsewhere"; readonly peer: string }
  | { readonly type: "conflict"; readonly unit: string }
  /** The other unit says Replaces= and holds the place. */
  | { readonly type: "replaced"; readonly unit: string }
  /** MaxPerMachine=: so many other instances of the template occupy it. */
  | {
      readonly type: "too-many-instances";
      readonly template: string;
      readonly max: number;
      readonly there: number;
    }
  /** Bytes, cores, tasks. `wanted` is that of the whole MachineOf group. */
  | {
      readonly type: "no-room";
      readonly resource: "memory" | "cpu" | "tasks";
      readonly wanted: number;
      readonly free: number;
    }
  /** The machine has a unit of this name from elsewhere (I11). */
  | { readonly type: "name-taken" }
  | { readonly type: "cordoned" }
  | { readonly type: "draining" }
  /** The machine's daemon is handing its units over. */
  | { readonly type: "leaving" }
  /** The machine is not present. */
  | { readonly type: "away" }
  /** It failed there within MoveIntervalSec=. */
  | { readonly type: "failed-there" }
  /** Fencing=strict: its stop may take longer than the machine's lease leaves room for. */
  | { readonly type: "fencing-too-slow"; readonly stopMs: number; readonly fitsMs: number }
  /** Another unit of the same MachineOf group cannot be there. */
  | { readonly type: "group-member"; readonly unit: string; readonly because: MachineReason };

/** Why a wanted unit is not placed, whatever the machine. */
export type UnitReason =
  | { readonly type: "no-machines" }
  /** MachineOf=: the peer is not wanted, or does not exist. */
  | { readonly type: "peer-not-wanted"; readonly peer: string }
  /** It still occupies the machine it has to leave. */
  | { readonly type: "stopping"; readonly machineId: string }
  /** Placed, but a unit that has to leave for it still occupies the machine. */
  | { readonly type: "waiting-for-room"; readonly machineId: string; readonly unit: string }
  /** Its machine is lost and no other can take it. */
  | { readonly type: "machine-lost"; readonly machineId: string }
  /** Its machine is away, but the engine does not give it up yet: fresh leader alone, or too many machines at once. */
  | {
      readonly type: "loss-held";
      readonly machineId: string;
      readonly why: "boot-grace" | "mass-loss";
    }
  /** It has to leave its machine, which is drained, and runs there until another takes it. Why none does follows. */
  | { readonly type: "drain-stuck"; readonly machineId: string }
  /** MachineID= keeps it, or one tied to it, on its machine although that is drained. */
  | { readonly type: "drain-pinned"; readonly machineId: string }
  /** OnFailure=move: it failed there, and no other machine takes it. Why none does follows. */
  | { readonly type: "failed"; readonly machineId: string }
  /** OnFailure=move: it failed there, and was moved MoveLimit= times for that before. */
  | { readonly type: "move-limit"; readonly machineId: string; readonly limit: number }
  /** MaxUnavailable=: a change reaches the machines in turn; so many have it and run it. */
  | { readonly type: "rolling"; readonly done: number; readonly of: number }
  | { readonly type: "manifest-missing" }
  | { readonly type: "manifest-invalid"; readonly detail: string };

/** It says why a unit stays on a machine that is drained; it runs there all the same. */
export function isDrainReason({ type }: Reason): boolean {
  return type === "drain-stuck" || type === "drain-pinned";
}
