import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;

function main(...args: readonly string[]): { status: number | null; out: string; err: string } {
  const result = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  return { status: result.status, out: result.stdout, err: result.stderr };
}

test("the program passes on arguments, output and exit status", () => {
  const version = main("version");
  assert.deepEqual([version.status, version.err], [0, ""]);
  assert.match(version.out, /^fleetctl-ts version /);
  assert.equal(main("frobnicate").status, 2);
  const away = main("--endpoint", "unix:///nonexistent/fleet.sock", "list-units");
  assert.deepEqual([away.status, away.out], [1, ""]);
  assert.match(away.err, /systemctl status fleetd-ts/);
});

test("a reader that goes away ends it quietly", () => {
  const piped = spawnSync("sh", ["-c", `"$0" "$1" help | true`, process.execPath, MAIN], {
    encoding: "utf8",
  });
  assert.deepEqual([piped.status, piped.stderr], [0, ""]);
});

test("output that cannot be written makes it fail and say so", () => {
  const argv = ["-c", `"$0" "$1" version > /dev/full`, process.execPath, MAIN];
  const { status, stderr } = spawnSync("sh", argv, { encoding: "utf8" });
  assert.deepEqual([status, stderr], [1, "cannot write: ENOSPC: no space left on device, write\n"]);
});
