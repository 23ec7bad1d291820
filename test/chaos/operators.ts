import type { Random } from "../../src/runtime/random.ts";
import type { Lab } from "../support/lab.ts";
import { type Fault, oneOf } from "./faults.ts";
import type { Wanted } from "./observe.ts";
import { type ChaosUnit, type Kind, WORKLOAD } from "./workload.ts";

/** One command; the same again does no harm where it is not known whether it was carried out. */
export interface Command {
  readonly argv: readonly string[];
  readonly unit: ChaosUnit | undefined;
  readonly wish: Wanted | undefined;
}

const ASKED_OF: readonly Kind[] = ["plain", "strict", "global", "apart", "few"];

/** Changes one unit: replaces, stops, starts or destroys it, or submits it again. */
export function drawCommand(random: Random, wanted: ReadonlyMap<string, Wanted>): Command {
  const unit = oneOf(
    WORKLOAD.filter(({ kind }) => ASKED_OF.includes(kind)),
    random,
  );
  const chance = random.fraction();
  const now = wanted.get(unit.name);
  const version = now?.version ?? 1;
  const command = (verb: readonly string[], wish: Wanted | undefined): Command => ({
    argv: [...verb, "--timeout", "20", unit.name],
    unit,
    wish,
  });
  if (now === undefined || now.target === "loaded")
    return command(["start"], { unit, target: "launched", version });
  if (chance < 0.4)
    return command(["start", "--replace"], { unit, target: "launched", version: version + 1 });
  if (chance < 0.7) return command(["stop"], { unit, target: "loaded", version });
  return command(["destroy"], undefined);
}

/** True where the client says that it was done. */
export async function carryOut(
  lab: Lab,
  command: Command,
  faults: readonly Fault[],
): Promise<boolean> {
  const { wish, argv } = command;
  if (wish !== undefined) await lab.unitFile(wish.unit.name, wish.unit.text(wish.version));
  const deaf = new Set(faults.flatMap((fault) => fault.deaf));
  const machine = lab.machines.find((one) => !deaf.has(one));
  if (machine === undefined) return false;
  const { code } = await lab.fleetctlAt(machine, ...argv);
  return code === 0;
}
