import type { MachineView, UnitStateView, UnitView } from "../../src/cluster/views.ts";

export const M1 = "1111aaaa2222bbbb3333cccc4444dddd";
export const M2 = "5555aaaa2222bbbb3333cccc4444dddd";

export function machine(change: Partial<MachineView> = {}): MachineView {
  return {
    id: M1,
    present: true,
    address: "10.0.0.1",
    metadata: {},
    version: "0.1.0",
    leaving: false,
    cordoned: false,
    draining: false,
    leader: false,
    ...change,
  };
}

export function state(change: Partial<UnitStateView> = {}): UnitStateView {
  return {
    machineId: M1,
    identity: 7,
    manifest: "m",
    hash: "0123456789abcdef0123456789abcdef01234567",
    current: "launched",
    load: "loaded",
    active: "active",
    sub: "running",
    result: "success",
    mainPid: 42,
    sinceMs: 0,
    start: { restarts: 0, outcome: "done" },
    ...change,
  };
}

export function unit(change: Partial<UnitView> = {}): UnitView {
  return {
    name: "a.service",
    identity: 7,
    desired: "launched",
    restarts: 0,
    global: false,
    manifest: "m",
    hash: "0123456789abcdef0123456789abcdef01234567",
    description: "",
    states: [],
    assigned: [],
    blocked: [],
    ...change,
  };
}
