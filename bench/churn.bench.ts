import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import type { UnitView } from "../src/cluster/views.ts";
import { Lab } from "../test/support/lab.ts";
import { followUnits } from "./follow-units.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

const UNITS = 100;
const CHANGES_A_SECOND = 50;

export const bench: Bench = {
  about:
    "three machines, 50 changes a second: from the API's answer until list-units shows the state",
  references: {
    "churn.p50_ms": "target: 50 ms",
    "churn.p99_ms": "target: 300 ms",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3 });
    try {
      const names = await writeUnits(lab, { prefix: "churn", count: UNITS, text: SLEEPER });
      await fleetctl(lab, "start", ...names);
      const delays = await churn(lab, names, context);
      const at = (share: number) => delays[Math.floor((delays.length - 1) * share)] ?? Number.NaN;
      context.record({ name: "churn.p50_ms", unit: "ms", value: at(0.5) });
      context.record({ name: "churn.p99_ms", unit: "ms", value: at(0.99) });
      context.record({ name: "churn.changes", unit: "changes", value: delays.length });
      await destroyAll(lab, names);
    } finally {
      await lab.close();
    }
  },
};

/** Stops what runs and starts what is stopped, one unit after the other: each has two seconds. Milliseconds, in order of length. */
async function churn(
  lab: Lab,
  names: readonly string[],
  context: BenchContext,
): Promise<readonly number[]> {
  const endpoint = await lab.endpoint(1);
  const list = new Listed();
  const following = new AbortController();
  const followed = followUnits({
    ...{ endpoint, units: names, deadlineMs: 600_000, signal: following.signal },
    until: (units) => list.look(units),
  }).catch((error: unknown) => {
    if (!following.signal.aborted) throw error;
  });
  const delays: number[] = [];
  const changes: Promise<void>[] = [];
  const count = CHANGES_A_SECOND * (context.seconds ?? 60);
  const beganMs = performance.now();
  for (let index = 0; index < count; index++) {
    await pause(Math.max(0, beganMs + (index * 1_000) / CHANGES_A_SECOND - performance.now()));
    const name = names[index % names.length] ?? "";
    const active = Math.floor(index / names.length) % 2 === 1 ? "active" : "inactive";
    changes.push(change(endpoint, list, { name, active }).then((ms) => void delays.push(ms)));
  }
  const askedMs = performance.now() - beganMs;
  await Promise.all(changes);
  following.abort();
  await followed;
  context.note(`${count} changes asked for within ${(askedMs / 1_000).toFixed(1)} s`);
  return delays.sort((a, b) => a - b);
}

/** Milliseconds from the answer until the unit is listed as it was asked to be; 0 when it was before the answer was here. */
async function change(
  endpoint: string,
  list: Listed,
  what: { readonly name: string; readonly active: Active },
): Promise<number> {
  const { name, active } = what;
  const listed = list.when(name, active);
  const desired = active === "active" ? "launched" : "loaded";
  const response = await fetch(`${endpoint}/fleet/v2/apply`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ changes: [{ type: "desire", name, desired }] }),
  });
  assert.equal(response.status, 200, await response.text());
  const answeredMs = performance.now();
  return Math.max(0, (await listed) - answeredMs);
}

type Active = "active" | "inactive";

/**
 * What a client that follows units has been shown: list-units shows that too from then on, for it reads the newest revision. One such client costs
 * the daemons little, while asking for the list every few milliseconds would be most of what is measured.
 */
class Listed {
  readonly #waiting = new Map<
    string,
    { readonly active: Active; readonly resolve: (ms: number) => void }
  >();

  /** The moment at which the unit is shown so. A change that the next one overtakes is late for good: it counts until that is shown. */
  when(name: string, active: Active): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    const before = this.#waiting.get(name);
    const both = (ms: number) => {
      before?.resolve(ms);
      resolve(ms);
    };
    this.#waiting.set(name, { active, resolve: both });
    return promise;
  }

  /** Never over by itself. */
  look(units: ReadonlyMap<string, UnitView>): false {
    const nowMs = performance.now();
    for (const [name, { active, resolve }] of this.#waiting) {
      if (units.get(name)?.states.some((state) => state.active === active) !== true) continue;
      this.#waiting.delete(name);
      resolve(nowMs);
    }
    return false;
  }
}
