import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { Notifier } from "../../src/sync/notify.ts";
import type { SyncOutcome } from "../../src/sync/sync.ts";

const VERSION = { id: "abc", author: "Ada <ada@example.com>", subject: "One", committedMs: 0 };
const RUNNING: SyncOutcome = {
  type: "synced",
  version: VERSION,
  plan: { steps: [], refused: [], unchanged: 0 },
  units: [],
};
const REJECTED: SyncOutcome = {
  type: "rejected",
  version: VERSION,
  problems: ["a.service:1: no", "$(touch /tmp/never)"],
  known: false,
};

describe("a command that is told of outcomes", () => {
  let directory = "";
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "fleet-ts-notify-"));
    const script =
      '#!/bin/sh\necho "$1 $(env | grep ^FLEET_SYNC_ | sort | tr "\\n" "|")" >> "$2"\n';
    await writeFile(join(directory, "tell"), script);
    await chmod(join(directory, "tell"), 0o755);
  });
  after(() => rm(directory, { recursive: true }));

  test("hears of each that is another than the last, in its environment and not by a shell", async () => {
    const log = join(directory, "log");
    const failures: string[] = [];
    const notifier = new Notifier({
      command: `${directory}/tell $HOME ${log}`,
      source: "units",
      clock: systemClock,
      onFailure: (why) => failures.push(why),
    });
    const unchanged = { ...RUNNING, type: "unchanged" } as const;
    for (const outcome of [RUNNING, unchanged, REJECTED, { ...REJECTED, backTo: VERSION }]) {
      await notifier.tell(outcome);
    }
    const lines = (await readFile(log, "utf8")).trim().split("\n");
    const about = "FLEET_SYNC_SOURCE=units|FLEET_SYNC_SUBJECT=One|FLEET_SYNC_VERSION=abc|";
    const author = "$HOME FLEET_SYNC_AUTHOR=Ada <ada@example.com>|FLEET_SYNC_OUTCOME=";
    const problems = "FLEET_SYNC_PROBLEMS=a.service:1: no|";
    assert.deepEqual(failures, []);
    assert.deepEqual(lines, [
      `${author}running|FLEET_SYNC_PROBLEMS=|${about}`,
      `${author}rejected|${problems}${about}`,
      `${author}rolled-back|${problems}${about}`,
    ]);
  });

  test("that is not there, or fails, is only reported", async () => {
    const failures: string[] = [];
    const onFailure = (why: string) => failures.push(why.replace(/^.*?: /, ""));
    for (const command of [join(directory, "absent"), "/bin/false"]) {
      const notifier = new Notifier({ command, source: "units", clock: systemClock, onFailure });
      await notifier.tell(RUNNING);
    }
    assert.equal(failures.length, 2);
    assert.match(failures[0] ?? "", /ENOENT/);
    assert.equal(failures[1], "it ended with status 1");
  });

  test("is ended when it takes too long", async () => {
    const clock = new VirtualClock();
    const failures: string[] = [];
    const onFailure = (why: string) => failures.push(why);
    const notifier = new Notifier({ command: "sleep 1000", source: "units", clock, onFailure });
    const told = notifier.tell(RUNNING);
    await clock.advance(11_000);
    await told;
    assert.deepEqual(failures, ["sleep 1000: it ended with SIGKILL"]);
  });
});
