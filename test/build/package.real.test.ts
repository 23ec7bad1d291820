import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { buildLibrary } from "../../build/library.ts";
import { openApiWorld } from "../api/api-world.ts";
import { runOk } from "../support/run.ts";

const PROJECT = resolve(import.meta.dirname, "../..");

const PROGRAM = `import { ApiError, connectFleet, FleetClient } from "fleet-ts";

const client: FleetClient = connectFleet({ endpoint: process.argv[2] ?? "" });
const units = await client.units();
const missing = await client.manifest("missing.service").catch((error: unknown) =>
  error instanceof ApiError ? error.status : 0,
);
const first: { name: string; desired: "inactive" | "loaded" | "launched" } | undefined = units[0];
console.log(JSON.stringify([first?.name, first?.desired, missing]));
`;

/** What `npm pack` makes of the project, where a project of somebody else's finds it. */
async function packedProject(t: TestContext): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-package-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const source = join(directory, "source");
  mkdirSync(join(source, "dist"), { recursive: true });
  copyFileSync(join(PROJECT, "package.json"), join(source, "package.json"));
  await buildLibrary(join(source, "dist"));
  await runOk(["npm", "pack", "--silent", "--pack-destination", directory], { cwd: source });
  const installed = join(directory, "node_modules/fleet-ts");
  mkdirSync(installed, { recursive: true });
  const archive = join(directory, "fleet-ts-0.1.0.tgz");
  await runOk(["tar", "-xzf", archive, "-C", installed, "--strip-components=1"]);
  return directory;
}

test("the package gives programs of others the client, with its types, and it lists units", async (t) => {
  const world = await openApiWorld(t);
  const content = "[Service]\nExecStart=/bin/true\n";
  await world.registry.apply([{ type: "submit", name: "a.service", content, desired: "launched" }]);
  const directory = await packedProject(t);
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(directory, "program.ts"), PROGRAM);
  // What npm would install for the package, and the types of Node, which any such project has.
  mkdirSync(join(directory, "node_modules/@types"));
  for (const name of ["valibot", "@types/node", "undici-types"]) {
    symlinkSync(join(PROJECT, "node_modules", name), join(directory, "node_modules", name));
  }
  const tsc = join(PROJECT, "node_modules/.bin/tsc");
  const settings = [
    "--strict",
    "--noEmit",
    "--module",
    "nodenext",
    "--target",
    "es2022",
    "--types",
    "node",
  ];
  await runOk([tsc, ...settings, "program.ts"], { cwd: directory });
  const endpoint = `unix://${world.socket}`;
  const stdout = await runOk([process.execPath, "program.ts", endpoint], { cwd: directory });
  assert.deepEqual(JSON.parse(stdout), ["a.service", "launched", 404]);
});
