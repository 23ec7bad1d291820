import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const PROJECT = join(import.meta.dirname, "..");

test("docs/reliability.md names tests that exist", async () => {
  const page = await readFile(join(PROJECT, "docs/reliability.md"), "utf8");
  const named = [...page.matchAll(/`(test\/[^`]+\.ts)`: (.+?)(?=; `test\/| \|$)/gm)];
  assert.ok(named.length > 20);
  for (const [, file = "", name = ""] of named) {
    const text = await readFile(join(PROJECT, file), "utf8");
    assert.ok(text.includes(name), `${file} has no test "${name}"`);
  }
});
