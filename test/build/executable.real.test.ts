import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bundle, makeExecutable, PROGRAMS } from "../../build/programs.ts";
import { openApiWorld } from "../api/api-world.ts";
import { run } from "../support/run.ts";

test("the client as an executable has all that its memory of the build left out", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "fleet-executable-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const program = PROGRAMS.find(({ name }) => name === "fleetctl-ts");
  assert.ok(program !== undefined);
  const executable = makeExecutable(program, await bundle(program, directory));
  const world = await openApiWorld(t);
  const content = "[Service]\nExecStart=/bin/true\n";
  await world.registry.apply([{ type: "submit", name: "a.service", content }]);
  writeFileSync(join(directory, "a.service"), content);
  const client = async (...args: readonly string[]) => {
    const env = { FLEETCTL_ENDPOINT: `unix://${world.socket}`, TZ: "UTC" };
    const { code, stdout, stderr } = await run([executable, ...args], { cwd: directory, env });
    return [code, stdout.trim(), stderr.trim().split("\n").at(-1)] as const;
  };
  const { stdout } = await run([process.execPath, join(directory, "fleetctl-ts.cjs"), "version"]);
  assert.deepEqual(await client("version"), [0, stdout.trim(), ""]);
  // One request, a stream of node:http, what hashes, what has date formats, TLS, and ssh2.
  assert.match((await client("list-unit-files", "--no-legend"))[1], /^a\.service\t/);
  assert.equal((await client("cat", "a.service"))[1], content.trim());
  assert.equal((await client("submit", "a.service"))[0], 0);
  assert.match((await client("start", "--timeout", "0.1", "a.service"))[2] ?? "", /a\.service/);
  assert.match((await client("journal", "missing.service"))[2] ?? "", /missing\.service/);
  assert.match((await client("explain", "a.service"))[1], /a\.service/);
  const nobody = /ECONNREFUSED/;
  assert.match((await client("--endpoint", "https://127.0.0.1:1", "list-units"))[2] ?? "", nobody);
  assert.match((await client("--tunnel", "127.0.0.1:1", "list-units"))[2] ?? "", nobody);
});
