import type { Lab } from "../support/lab.ts";
import type { ChaosUnit } from "./workload.ts";

/** A unit on a machine, as systemd has it. */
export interface Seen {
  readonly unit: string;
  readonly machine: number;
  readonly load: string;
  readonly active: string;
  readonly sub: string;
  readonly mainPid: string;
  readonly invocation: string;
  readonly version: string;
}

export interface Sight {
  readonly seen: readonly Seen[];
  /** By machine, unit files that fleet-ts keeps there. */
  readonly files: ReadonlyMap<number, readonly string[]>;
}

export interface Wanted {
  readonly unit: ChaosUnit;
  readonly target: "launched" | "loaded";
  readonly version: number;
}

const SHOW =
  "systemctl show -p Id,LoadState,ActiveState,SubState,MainPID,InvocationID,Environment,FragmentPath";

export async function observe(lab: Lab, names: readonly string[]): Promise<Sight> {
  const files = new Map<number, readonly string[]>();
  const all = await Promise.all(
    lab.machines.map(async (machine) => {
      const script = `find /run/fleet/units -maxdepth 1 -type f ! -name '.*' -printf '%f '; echo; ${SHOW} ${names.join(" ")}`;
      const { code, stdout, stderr } = await lab.exec(machine, "sh", "-c", script);
      if (code !== 0)
        throw new Error(`systemctl show on m${machine} ended with ${code}: ${stderr}`);
      const end = stdout.indexOf("\n");
      files.set(
        machine,
        stdout
          .slice(0, end)
          .split(" ")
          .filter((name) => name !== ""),
      );
      return stdout
        .slice(end + 1)
        .trim()
        .split("\n\n")
        .map((block) => parse(machine, block));
    }),
  );
  const seen = all.flat().filter(({ load, fragment }) => load !== "not-found" && fragment !== "");
  return { seen, files };
}

function parse(machine: number, block: string): Seen & { readonly fragment: string } {
  const values = new Map(
    block
      .split("\n")
      .map(
        (line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const,
      ),
  );
  const value = (name: string) => values.get(name) ?? "";
  return {
    unit: value("Id"),
    machine,
    load: value("LoadState"),
    active: value("ActiveState"),
    sub: value("SubState"),
    mainPid: value("MainPID") === "" ? "0" : value("MainPID"),
    invocation: value("InvocationID"),
    version: /VERSION=(\d+)/.exec(value("Environment"))?.[1] ?? "",
    fragment: value("FragmentPath"),
  };
}

interface Listed {
  readonly name: string;
  readonly states: readonly {
    machineId: string;
    load: string;
    active: string;
    sub: string;
    mainPid: number;
  }[];
}

/** Everything in which the cluster is not as it was asked to be, or says what is not so; empty when it has converged. */
export async function differences(
  lab: Lab,
  wanted: ReadonlyMap<string, Wanted>,
  every: readonly string[],
  ids: readonly string[],
): Promise<{ readonly wrong: readonly string[]; readonly sight: Sight }> {
  const asked = lab.machines[Math.floor(performance.now()) % lab.size] ?? 1;
  const [sight, body, present] = await Promise.all([
    observe(lab, every),
    lab.api(asked, "/fleet/v2/units") as Promise<{ units: readonly Listed[] }>,
    lab.presentMachines(asked),
  ]);
  const wrong: string[] = [];
  if (present.length !== lab.size) wrong.push(`m${asked} lists ${present.length} machines`);
  for (const name of every) wrong.push(...wrongOf(name, wanted.get(name), sight, lab.machines));
  for (const [machine, files] of sight.files) {
    const held = new Set(
      sight.seen.filter((one) => one.machine === machine).map(({ unit }) => unit),
    );
    for (const file of files)
      if (!wanted.has(file) || !held.has(file)) wrong.push(`m${machine} keeps ${file}`);
  }
  const names = body.units.map(({ name }) => name).sort();
  if (names.join() !== [...wanted.keys()].sort().join())
    wrong.push(`m${asked} lists units ${names.join(" ")}`);
  const told = body.units.flatMap(({ name, states }) =>
    states.map(
      (s) =>
        `${name} on m${ids.indexOf(s.machineId) + 1}: ${s.load} ${s.active} ${s.sub} ${s.mainPid}`,
    ),
  );
  const real = sight.seen.map(
    (s) => `${s.unit} on m${s.machine}: ${s.load} ${s.active} ${s.sub} ${s.mainPid}`,
  );
  for (const line of told) if (!real.includes(line)) wrong.push(`shown, not so: ${line}`);
  for (const line of real) if (!told.includes(line)) wrong.push(`so, not shown: ${line}`);
  return { wrong, sight };
}

function wrongOf(
  name: string,
  wanted: Wanted | undefined,
  { seen }: Sight,
  machines: readonly number[],
): readonly string[] {
  const here = seen.filter(({ unit }) => unit === name);
  const where = here.map((one) => `m${one.machine} ${one.active}`).join(", ");
  if (wanted === undefined)
    return here.length === 0 ? [] : [`${name} is not wanted and is on ${where}`];
  const copies = wanted.unit.kind === "global" ? machines.length : 1;
  if (here.length !== copies)
    return [`${name} is wanted ${copies} times and is on ${where || "no machine"}`];
  if (wanted.unit.kind === "activated") return [];
  const active = wanted.target === "launched" ? "active" : "inactive";
  return here
    .filter((one) => one.active !== active || !["", String(wanted.version)].includes(one.version))
    .map(
      (one) =>
        `${name} is to be ${active} in version ${wanted.version} and is ${one.active} in ${one.version} on m${one.machine}`,
    );
}
