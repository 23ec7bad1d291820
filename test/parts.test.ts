import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { run } from "./support/run.ts";

const PROJECT = resolve(import.meta.dirname, "..");

/** Runs `script` after test/parts.sh was sourced, where files() names test files of these contents. */
async function withParts(script: string, ...contents: readonly string[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "parts-"));
  try {
    for (const [index, content] of contents.entries()) {
      const text = `import { test } from "node:test";\n${content}\n`;
      await writeFile(join(directory, `${index}.test.ts`), text);
    }
    const text = [
      "set -euo pipefail",
      ". test/parts.sh",
      `files() { find ${directory} -name "*.test.ts"; }`,
      script,
      "join",
      'printf "%d passed, %d failed\\n" "$PASSED" "$FAILED"',
    ].join("\n");
    const result = await run(["bash", "-c", text], { cwd: PROJECT, env: { PROJECT } });
    assert.equal(result.stderr, "");
    return result.stdout;
  } finally {
    await rm(directory, { recursive: true });
  }
}

test("parts.sh adds up the tests of all runs", async () => {
  const output = await withParts(
    "begin_tests one files 60",
    'test("a", () => {}); test("b", () => {});',
  );
  assert.match(output, /^ok {4}one .* 2 passed\n2 passed, 0 failed\n$/);
});

test("parts.sh shows the failing tests, and counts skipped ones as failed", async () => {
  const output = await withParts(
    "begin_tests one files 60",
    'test("good", () => {}); test("bad", () => { throw new Error("because"); });',
    'test("shy", { skip: true }, () => {});',
  );
  assert.match(output, /^FAIL {2}one .* 1 passed, 2 failed\n/);
  assert.match(output, /because/);
  assert.doesNotMatch(output, /✔ good/);
  assert.match(output, /\n1 passed, 2 failed\n$/);
});

test("parts.sh counts a part that is no test run as failed when it fails, and shows what it said", async () => {
  const output = await withParts('begin tool sh -c "echo what is wrong; exit 3"; begin other true');
  assert.match(output, /^FAIL {2}tool .* exit status 3$/m);
  assert.match(output, /^ {6}what is wrong$/m);
  assert.match(output, /^ok {4}other /m);
  assert.match(output, /\n0 passed, 1 failed\n$/);
});

test("parts.sh counts a test run that runs no test as failed", async () => {
  const output = await withParts("begin_tests one files 60", 'test.todo("later");');
  assert.match(output, /^FAIL {2}one .* no test ran\n/);
  assert.match(output, /\n0 passed, 1 failed\n$/);
});

test("parts.sh ends a test run that does not end by itself", async () => {
  const output = await withParts(
    "begin_tests one files 2",
    'test("done", () => {}); setInterval(() => {}, 1000);',
  );
  assert.match(output, /^FAIL {2}one .* not done in time\n/);
});
