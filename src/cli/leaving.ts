import { type Progress, progress } from "../cluster/progress.ts";
import { isDrainReason } from "../cluster/reason.ts";
import { startResult } from "../cluster/start-result.ts";
import type { UnitView } from "../cluster/views.ts";

/** How far a unit is with leaving a machine. */
export type Leaving =
  /** It is not there (any more), or not wanted anywhere. */
  | { readonly type: "gone" }
  /** It runs there until it is its turn. */
  | { readonly type: "waits" }
  | { readonly type: "moves"; readonly progress: Progress }
  /** On its new machine, as wanted; `wasAlreadyDown`: as little as on the old one. */
  | { readonly type: "moved"; readonly to: string; readonly wasAlreadyDown: boolean }
  /** It does not start on its new machine, and the drain goes no further. */
  | { readonly type: "failed"; readonly to: string; readonly progress: Progress }
  /** No machine takes it. It runs where it is. */
  | { readonly type: "stuck" }
  /** It is to stay: finished, or bound to the machine. */
  | { readonly type: "stays"; readonly why: "finished" | "pinned" };

export function leavingOf(view: UnitView | undefined, machineId: string): Leaving {
  if (view === undefined || view.desired === "inactive") return { type: "gone" };
  const isThere = view.states.some((state) => state.machineId === machineId);
  if (view.global) {
    const isAssigned = view.assigned.some((place) => place.machineId === machineId);
    return { type: isAssigned || isThere ? "waits" : "gone" };
  }
  if (view.machineId === machineId) return onMachine(view, machineId);
  const { name, identity, restarts, desired } = view;
  const state = progress(view, { name, identity, restarts, state: desired });
  const to = view.machineId;
  if (to === undefined || isThere) return { type: "moves", progress: state };
  if (state.type === "reached") return { type: "moved", to, wasAlreadyDown: false };
  if (view.movingFrom !== machineId) return { type: "moved", to, wasAlreadyDown: true };
  return { type: state.type === "failed" ? "failed" : "moves", to, progress: state };
}

function onMachine(view: UnitView, machineId: string): Leaving {
  const first = view.blocked[0]?.reason;
  if (first !== undefined && isDrainReason(first)) {
    return first.type === "drain-pinned" ? { type: "stays", why: "pinned" } : { type: "stuck" };
  }
  const state = view.states.find((one) => one.machineId === machineId);
  const isFinished =
    state !== undefined &&
    view.desired === "launched" &&
    state.identity === view.identity &&
    startResult(state, view.restarts) === "finished";
  if (isFinished) return { type: "stays", why: "finished" };
  return { type: view.blocked.length === 0 ? "waits" : "stuck" };
}

/** Whether the unit does its work on the machine, as far as is known. */
export function isUpOn(view: UnitView | undefined, machineId: string): boolean {
  return (
    view?.states.some(
      (state) =>
        state.machineId === machineId && /^(active|reloading|refreshing)$/.test(state.active),
    ) === true
  );
}
