import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";

const MODULE = new URL("../../src/cli/standard-output.ts", import.meta.url).href;
/** More than pipes and sockets hold. */
const LINES = 50_000;
const LONG = `for (let line = 0; line < ${LINES}; line += 1) output.write(\`line \${line}\n\`); await output.end();`;

/** Node's arguments. */
function program(code: string): readonly string[] {
  const head = `import { StandardOutput } from "${MODULE}"; const output = new StandardOutput(() => process.stdout);`;
  return ["--input-type=module", "-e", `${head} ${code} process.exit(3);`];
}

function assertAllLines(written: string): void {
  const lines = written.split("\n");
  assert.equal(lines.length, LINES + 1);
  assert.equal(lines[LINES - 1], `line ${LINES - 1}`);
}

test("all of a long output goes into a pipe that is read late", () => {
  const shell = `{ "$@"; echo "exit $?" >&2; } | { head -c 1; cat; }`;
  const argv = ["-c", shell, "sh", process.execPath, ...program(LONG)];
  const { stdout, stderr } = spawnSync("sh", argv, { encoding: "utf8" });
  assertAllLines(stdout);
  assert.equal(stderr, "exit 3\n");
});

test("all of a long output goes into a pipe that somebody else made non-blocking", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fleet-output-"));
  const pipe = join(directory, "pipe");
  try {
    execFileSync("sh", ["-c", `mkfifo "$0"`, pipe]);
    const end = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
    const reader = spawn("cat", [pipe], { stdio: ["ignore", "pipe", "inherit"] });
    // Node would make a standard output blocking again.
    const argv = ["-c", `exec "$@" >&3`, "sh", process.execPath, ...program(LONG)];
    const writer = spawn("sh", argv, { stdio: ["ignore", "inherit", "inherit", end] });
    closeSync(end);
    const [written, [exit]] = await Promise.all([text(reader.stdout), once(writer, "exit")]);
    assertAllLines(written);
    assert.equal(exit, 3);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("what is written while the process goes on comes at once", async () => {
  const code = `output.write("ready\\n"); for await (const _ of process.stdin); output.write("over\\n"); await output.end();`;
  const child = spawn(process.execPath, program(code), { stdio: ["pipe", "pipe", "inherit"] });
  const [first] = await once(child.stdout, "data");
  assert.equal(String(first), "ready\n");
  child.stdin.end();
  assert.equal(await text(child.stdout), "over\n");
});

test("flush() brings output before what is written elsewhere next", () => {
  const code = `output.write("1 "); output.flush(); process.stderr.write("2 "); output.write("3"); await output.end();`;
  const argv = ["-c", `"$@" 2>&1`, "sh", process.execPath, ...program(code)];
  assert.equal(spawnSync("sh", argv, { encoding: "utf8" }).stdout, "1 2 3");
});
