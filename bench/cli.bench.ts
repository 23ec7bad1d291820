import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { Lab } from "../test/support/lab.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

const PROJECT = join(import.meta.dirname, "..");
const CLIENT = join(PROJECT, "dist/fleetctl-ts");
/** Processes are short and the host is not quiet: so many per round. */
const RUNS = 5;

export const bench: Bench = {
  about: "the client as one executable: whole processes, from their start to their end",
  references: {
    "cli.version_ms": "fleet: 25 ms",
    "cli.list_0_ms": "fleet: 25 ms",
    "cli.list_500_ms": "fleet: 66 ms",
    "cli.list_1500_ms": "fleet: 525 ms",
    "cli.submit_ms": "fleet: 277 ms",
    "cli.start_ms": "fleet: 2500-4800 ms",
  },
  async run(context) {
    execFileSync("npm", ["run", "-s", "dist"], { cwd: PROJECT, stdio: ["ignore", 2, 2] });
    const lab = await Lab.open({ machines: 3 });
    try {
      const endpoint = await lab.endpoint(1);
      const client = (...args: readonly string[]) => timeClient(endpoint, lab.dir, args);
      await repeat(context, "cli.version_ms", () => client("version"));
      await repeat(context, "cli.list_0_ms", () => client("list-units"));
      await submitAndStart(lab, context, client);
      for (const [name, count] of [
        ["cli.list_500_ms", 500],
        ["cli.list_1500_ms", 1000],
      ] as const) {
        const units = await writeUnits(lab, { prefix: `list-${count}`, count, text: SLEEPER });
        await fleetctl(lab, "load", ...units);
        await repeat(context, name, () => client("list-units"));
      }
    } finally {
      await lab.close();
    }
  },
};

type Client = (...args: readonly string[]) => Promise<number>;

/** One unit submitted, and one started from nothing, each new every time. */
async function submitAndStart(lab: Lab, context: BenchContext, client: Client): Promise<void> {
  const count = context.rounds * RUNS;
  const submitted = await writeUnits(lab, { prefix: "submit", count, text: SLEEPER });
  const started = await writeUnits(lab, { prefix: "start", count, text: SLEEPER });
  const [submits, starts] = [submitted.values(), started.values()];
  await repeat(context, "cli.submit_ms", () => client("submit", submits.next().value ?? ""));
  await repeat(context, "cli.start_ms", () => client("start", starts.next().value ?? ""));
  await destroyAll(lab, [...submitted, ...started]);
}

async function repeat(
  context: BenchContext,
  name: string,
  run: () => Promise<number>,
): Promise<void> {
  context.note(name);
  for (let count = 0; count < context.rounds * RUNS; count += 1) {
    context.record({ name, unit: "ms", value: await run() });
  }
}

/** Milliseconds. Output is read, as a shell would. */
async function timeClient(endpoint: string, cwd: string, args: readonly string[]): Promise<number> {
  const beganMs = performance.now();
  const child = spawn(CLIENT, [`--endpoint=${endpoint}`, ...args], {
    cwd,
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.resume();
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const value = performance.now() - beganMs;
  assert.equal(code, 0, `fleetctl-ts ${args.join(" ")}`);
  return value;
}
