import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { ExplainBody } from "../../src/api/protocol.ts";
import { destroyAll, places, sleeper, startUnits } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "3s" } });

afterEach(async () => {
  await done("uncordon", "m1", "m2", "m3");
  await destroyAll(fixture.lab);
});

/** Standard output of a command that succeeds. */
async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await fixture.lab.fleetctl(...args);
  assert.equal(code, 0, `fleetctl-ts ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** Types of the reasons why the unit is not on m1, m2, m3. */
async function reasons(unit: string): Promise<readonly (string | undefined)[]> {
  const { lab } = fixture;
  const [body]: readonly ExplainBody[] = JSON.parse(await done("explain", "-o", "json", unit));
  const ids = await Promise.all(lab.machines.map((machine) => lab.machineId(machine)));
  return ids.map((id) => body?.machines.find(({ machineId }) => machineId === id)?.reason?.type);
}

test("a blocked unit's explanation names the right reason for each machine, and what helps", async () => {
  const { lab } = fixture;
  await done("set-metadata", "m1", "disk=ssd");
  await done("set-metadata", "m3", "disk=ssd");
  await done("cordon", "m3");
  await startUnits(lab, { "a.service": sleeper("[X-Fleet]\nMachineMetadata=hostname=m1\n") });
  const text = "[X-Fleet]\nConflicts=a.service\nMachineMetadata=disk=ssd\n";
  await lab.unitFile("b.service", sleeper(text));
  const blocked = await lab.fleetctl("start", "b.service");
  assert.equal(blocked.code, 1);
  assert.match(blocked.stderr, /cannot be placed: .*conflicts with a\.service/);
  assert.match(blocked.stderr, /fleetctl-ts explain b\.service/);
  assert.deepEqual(await reasons("b.service"), ["conflict", "metadata-differs", "cordoned"]);
  const table = await done("explain", "b.service");
  const remedy = /after: fleetctl-ts (uncordon \S+)/.exec(table)?.[1];
  assert.ok(remedy, table);
  await done(...remedy.split(" "));
  await lab.waitFor({
    what: "what the explanation proposes places the unit",
    deadlineMs: 20_000,
    look: () => places(lab, ["b.service"]),
    until: (where) => where["b.service"]?.[0] === 3,
  });
});

test("a machine without room for what a unit reserves is named, and no other", async () => {
  const { lab } = fixture;
  const text = sleeper("MemoryMax=60%\n[X-Fleet]\nMachineMetadata=hostname=m2\n");
  await startUnits(lab, { "big.service": text });
  await lab.unitFile("bigger.service", text);
  assert.equal((await lab.fleetctl("start", "bigger.service")).code, 1);
  assert.deepEqual(await reasons("bigger.service"), [
    "metadata-differs",
    "no-room",
    "metadata-differs",
  ]);
  assert.match(await done("explain", "bigger.service"), /after: fleetctl-ts unload big\.service/);
});

test("a cordoned machine gets no new units until it is uncordoned, and a plan foretells both", async () => {
  const { lab } = fixture;
  const planned = async (unit: string): Promise<readonly string[]> => {
    const [row] = JSON.parse(await done("plan", "--start", "-o", "json", unit));
    return row.after;
  };
  await done("cordon", "m2", "m3");
  const names = ["c1.service", "c2.service", "c3.service"];
  for (const name of names) await lab.unitFile(name, sleeper());
  assert.deepEqual(await planned("c1.service"), [await lab.machineId(1)]);
  await done("start", ...names);
  assert.deepEqual(await places(lab, names), {
    "c1.service": [1],
    "c2.service": [1],
    "c3.service": [1],
  });
  await done("uncordon", "m2");
  await lab.unitFile("d.service", sleeper());
  assert.deepEqual(await planned("d.service"), [await lab.machineId(2)]);
  await done("start", "d.service");
  assert.deepEqual((await places(lab, ["d.service"]))["d.service"], [2]);
});

test("metadata that an operator set outlasts a restart of the daemon", async () => {
  const { lab } = fixture;
  await done("set-metadata", "m2", "rack=7", "kernel-");
  await lab.daemon(2, "restart");
  const id = await lab.machineId(2);
  await lab.waitFor({
    what: "the machine is back with what was set",
    deadlineMs: 20_000,
    look: async () => JSON.parse(await done("list-machines", "-o", "json")),
    until: (machines: readonly { id: string; metadata: Record<string, string> }[]) => {
      const metadata = machines.find((machine) => machine.id === id)?.metadata;
      return metadata?.["rack"] === "7" && !("kernel" in metadata);
    },
  });
});
