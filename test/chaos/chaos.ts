import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Random } from "../../src/runtime/random.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { Lab } from "../support/lab.ts";
import { absences } from "./absences.ts";
import { lives } from "./beats.ts";
import { drawFaults, TTL_SECONDS } from "./faults.ts";
import { judge, type Round } from "./judge.ts";
import { differences, type Sight, type Wanted } from "./observe.ts";
import { type Command, carryOut, drawCommand } from "./operators.ts";
import { WORKLOAD } from "./workload.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly minutes: number;
  /** From the end of a round's last fault or command until all is as it was asked to be. */
  readonly convergeMs: number;
  /** Folder for the machines' journals of a run that found something. */
  readonly keepIn: string | undefined;
  readonly say: (line: string) => void;
}

export interface Outcome {
  readonly violations: readonly string[];
  readonly summary: readonly string[];
}

const MACHINES = 5;

/** Faults and commands in rounds; after each the cluster has to be as it was asked to be, and nothing may have been harmed on the way. */
export async function chaos(options: ChaosOptions): Promise<Outcome> {
  const lab = await Lab.open({
    machines: MACHINES,
    etcdMembers: 3,
    settings: { agent_ttl: `${TTL_SECONDS}s`, boot_grace: "5s" },
  });
  let well = false;
  try {
    const outcome = await new Chaos(lab, options).run();
    well = outcome.violations.length === 0;
    return outcome;
  } finally {
    if (!well && options.keepIn !== undefined) await keepJournals(lab, options.keepIn);
    await lab.close();
  }
}

async function keepJournals(lab: Lab, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const machine of lab.machines) {
    const text = await lab.journal(machine, "-o", "short-iso-precise", "--no-hostname");
    await writeFile(join(folder, `m${machine}.log`), text);
  }
}

class Chaos {
  readonly #lab: Lab;
  readonly #options: ChaosOptions;
  readonly #random: Random;
  readonly #wanted = new Map<string, Wanted>();
  readonly #every = WORKLOAD.map(({ name }) => name);
  readonly #rounds: Round[] = [];
  readonly #violations: string[] = [];
  readonly #convergedMs: number[] = [];
  /** By kind of fault: from its end, alone or with another, until all was well. */
  readonly #timesMs = new Map<string, readonly number[]>();
  #commands = 0;
  #ids: readonly string[] = [];

  constructor(lab: Lab, options: ChaosOptions) {
    this.#lab = lab;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
  }

  async run(): Promise<Outcome> {
    const beganMs = performance.now();
    this.#ids = await Promise.all(
      this.#lab.machines.map((machine) => this.#lab.machineId(machine)),
    );
    await this.#startAll();
    let sight = await this.#converged("the start of the workload", 60_000);
    while (sight !== undefined && performance.now() - beganMs < this.#options.minutes * 60_000) {
      sight = await this.#round(sight).catch((error: unknown) => {
        this.#options.say(String(error));
        const [what = ""] = String(error).split("\n");
        this.#violations.push(`${this.#rounds.at(-1)?.name}: ${what}`);
        return undefined;
      });
    }
    const minutes = (performance.now() - beganMs) / 60_000;
    return this.#judge(minutes);
  }

  async #startAll(): Promise<void> {
    for (const unit of WORKLOAD) {
      await this.#lab.unitFile(unit.name, unit.text(1));
      this.#wanted.set(unit.name, { unit, target: unit.target, version: 1 });
    }
    for (const [verb, target] of [
      ["load", "loaded"],
      ["start", "launched"],
    ] as const) {
      const units = WORKLOAD.filter((unit) => unit.target === target).map(({ name }) => name);
      const { code, stdout, stderr } = await this.#lab.fleetctl(verb, ...units);
      assert.equal(code, 0, `${verb}: ${stdout}${stderr}`);
    }
  }

  /** What is seen when all is well again; undefined where it is not in time, which is a violation. */
  async #round(before: Sight): Promise<Sight | undefined> {
    const { faults, holdMs } = drawFaults(this.#random, this.#lab.machines);
    const commands = [1, 2].flatMap(() =>
      this.#random.fraction() < 0.5 ? [drawCommand(this.#random, this.#wanted)] : [],
    );
    const drained =
      this.#random.fraction() < 0.1
        ? 1 + Math.floor(this.#random.fraction() * MACHINES)
        : undefined;
    const name = `round ${this.#rounds.length + 1}: ${faults.map((fault) => fault.name).join(" and ")} for ${(holdMs / 1_000).toFixed(1)} s`;
    const round: Round = {
      name,
      fromMs: Date.now(),
      untilMs: Number.POSITIVE_INFINITY,
      faults,
      heldMs: 0,
      endingMs: Number.POSITIVE_INFINITY,
      touched: new Set(),
      before,
      after: undefined,
    };
    this.#rounds.push(round);
    const beganMs = performance.now();
    for (const fault of faults) await fault.begin(this.#lab);
    const hold = async () => {
      await pause(holdMs);
      round.endingMs = Date.now();
      for (const fault of faults) await fault.end(this.#lab);
      round.heldMs = performance.now() - beganMs;
    };
    // Side by side: a command may wait for what the fault keeps from happening.
    const [undone] = await Promise.all([this.#commandAll(round, commands), hold()]);
    await this.#again(round, undone);
    if (drained !== undefined) await this.#drain(round, drained);
    const endedMs = performance.now();
    round.after = await this.#converged(name, this.#options.convergeMs);
    for (const fault of faults) {
      const kind = fault.name.replace(/\bm\d+\b/, "a machine").replace(/member \d/, "a member");
      const times = this.#timesMs.get(kind) ?? [];
      this.#timesMs.set(kind, [...times, performance.now() - endedMs]);
    }
    round.untilMs = Date.now();
    return round.after;
  }

  /** One after the other; gives those that were not carried out. */
  async #commandAll(round: Round, commands: readonly Command[]): Promise<readonly Command[]> {
    const undone: Command[] = [];
    for (const command of commands) {
      if (!(await this.#command(round, command))) undone.push(command);
    }
    return undone;
  }

  async #command(round: Round, command: Command): Promise<boolean> {
    this.#commands += 1;
    const { unit, wish } = command;
    assert(unit !== undefined);
    round.touched.add(unit.name);
    if (wish === undefined) this.#wanted.delete(unit.name);
    else this.#wanted.set(unit.name, wish);
    // Nobody would wait for a registry that is away.
    if (round.faults.some(({ registryAway }) => registryAway)) return false;
    return carryOut(this.#lab, command, round.faults);
  }

  /** Later commands for the same unit are the ones that count. */
  async #again(round: Round, undone: readonly Command[]): Promise<void> {
    const last = new Map(undone.map((command) => [command.unit?.name, command]));
    for (const command of last.values()) {
      if (this.#wanted.get(command.unit?.name ?? "") !== command.wish) continue;
      await this.#lab.waitFor({
        what: `${command.argv.join(" ")} succeeds after ${round.name}`,
        deadlineMs: 60_000,
        look: () => carryOut(this.#lab, command, []),
        until: (done) => done,
      });
    }
  }

  async #drain(round: Round, machine: number): Promise<void> {
    const id = this.#ids[machine - 1] ?? "";
    for (const { unit } of round.before.seen.filter((one) => one.machine === machine))
      round.touched.add(unit);
    this.#commands += 2;
    await this.#lab.fleetctl("drain", "--timeout", "30", id);
    const { code, stderr } = await this.#lab.fleetctl("uncordon", id);
    if (code !== 0) this.#violations.push(`uncordon of m${machine} after ${round.name}: ${stderr}`);
  }

  async #converged(name: string, deadlineMs: number): Promise<Sight | undefined> {
    const beganMs = performance.now();
    let last: readonly string[] = [];
    for (;;) {
      const tookMs = performance.now() - beganMs;
      if (tookMs > deadlineMs) break;
      try {
        const { wrong, sight } = await differences(this.#lab, this.#wanted, this.#every, this.#ids);
        if (wrong.length === 0) {
          this.#convergedMs.push(tookMs);
          this.#options.say(`${name}: well after ${(tookMs / 1_000).toFixed(1)} s`);
          return sight;
        }
        last = wrong;
      } catch (error) {
        last = [String(error)];
      }
      await pause(250);
    }
    this.#violations.push(
      `${name}: not converged after ${deadlineMs / 1_000} s: ${last.slice(0, 12).join("; ")}`,
    );
    this.#options.say(await this.#lab.logs(30));
    return undefined;
  }

  #timesByKind(): readonly string[] {
    const seconds = (ms: number | undefined) => `${((ms ?? 0) / 1_000).toFixed(1)} s`;
    return [...this.#timesMs].sort().map(([kind, times]) => {
      const sorted = times.toSorted((a, b) => a - b);
      const median = sorted[Math.floor((sorted.length - 1) / 2)];
      return `  ${kind}: ${times.length} times, well after ${seconds(median)}, at most ${seconds(sorted.at(-1))}`;
    });
  }

  async #judge(minutes: number): Promise<Outcome> {
    const { lives: all, beats } = await lives(this.#lab);
    const { violations, afterFreezeMs } = judge(this.#rounds, all, await absences(this.#lab));
    const worst = Math.max(0, ...this.#convergedMs.slice(1));
    return {
      violations: [...this.#violations, ...violations],
      summary: [
        `${minutes.toFixed(1)} minutes, ${this.#rounds.length} rounds, ${this.#rounds.flatMap(({ faults }) => faults).length} faults, ${this.#commands} commands`,
        `${WORKLOAD.length} units, ${all.length} processes, ${beats} heartbeats read from ${MACHINES} journals`,
        `converged at most ${(worst / 1_000).toFixed(1)} s after the last fault or command of a round (allowed: ${this.#options.convergeMs / 1_000} s)`,
        ...this.#timesByKind(),
        `strict units on two machines at once: 0 but for frozen machines${afterFreezeMs > 0 ? `, which went on for up to ${Math.round(afterFreezeMs)} ms` : ""}`,
      ],
    };
  }
}
