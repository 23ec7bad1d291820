import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { JournalNudge } from "../../src/api/journal-nudge.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { waitFor } from "../support/wait-for.ts";

test("while somebody follows, the journal's file has events and stays as it is; then no more", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "fleet-nudge-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "system.journal");
  writeFileSync(file, "lines");
  const { mtimeMs } = statSync(file);
  const clock = new VirtualClock();
  const nudge = new JournalNudge(clock, [join(directory, "missing"), file]);
  let events = 0;
  const watcher = watch(directory, () => {
    events += 1;
  });
  t.after(() => watcher.close());
  const ends = [nudge.begin(), nudge.begin()];
  ends[0]?.();
  ends[0]?.();
  await waitFor({
    what: "two events",
    deadlineMs: 10_000,
    look: async () => {
      await clock.advance(20);
      return events;
    },
    until: (count) => count >= 2,
  });
  // Set to whole milliseconds.
  assert.ok(Math.abs(statSync(file).mtimeMs - mtimeMs) <= 1);
  ends[1]?.();
  await waitFor({
    what: "nothing comes any more",
    deadlineMs: 10_000,
    look: async () => {
      const before = events;
      await clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
      return events - before;
    },
    until: (count) => count === 0,
  });
});
