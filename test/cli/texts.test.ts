import assert from "node:assert/strict";
import { test } from "node:test";
import { worstExit } from "../../src/cli/exit-code.ts";
import { progressText } from "../../src/cli/progress-text.ts";
import { sshArguments } from "../../src/cli/ssh.ts";
import { WaitingLine } from "../../src/cli/waiting-line.ts";
import type { Progress } from "../../src/cluster/progress.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { state } from "./views.ts";

const GOAL = { name: "a.service", state: "launched" } as const;
const legend = (machineId: string) => machineId.slice(0, 4);

type Row = readonly [progress: Progress, text: string];

for (const [progress, text] of [
  [
    {
      type: "waiting",
      on: { type: "machine", step: "start", machineId: "m1", detail: "activating (start)" },
    },
    "Unit a.service: starting on m1: activating (start)",
  ],
  [
    { type: "waiting", on: { type: "engine", step: "place" } },
    "Unit a.service: waiting for the engine to place it",
  ],
  [
    { type: "waiting", on: { type: "engine", step: "withdraw" } },
    "Unit a.service: waiting for the engine to take it back",
  ],
  [
    {
      type: "waiting",
      on: {
        type: "room",
        reasons: [{ reason: { type: "stopping", machineId: "m2" }, machines: 0, examples: [] }],
      },
    },
    "Unit a.service: waiting: it has not finished stopping on m2",
  ],
  [
    {
      type: "blocked",
      reasons: [{ reason: { type: "no-machines" }, machines: 0, examples: [] }],
    },
    "Unit a.service cannot be placed: no machine is present",
  ],
  [{ type: "away", machines: ["m1", "m2"] }, "Unit a.service: machine m1, m2 is away"],
  [
    {
      type: "failed",
      final: true,
      failure: {
        type: "start",
        machineId: "m1",
        outcome: "failed",
        state: state({ active: "failed", sub: "failed", result: "exit-code" }),
      },
    },
    "Unit a.service failed to start on m1: state failed (failed), result exit-code",
  ],
  [
    {
      type: "failed",
      final: false,
      failure: {
        type: "start",
        machineId: "m1",
        outcome: "dependency",
        state: state({ active: "inactive", sub: "dead", result: "" }),
      },
    },
    "Unit a.service failed to start on m1: a unit it depends on failed; is tried again; state inactive (dead), result -",
  ],
  [
    { type: "failed", final: false, failure: { type: "load", machineId: "m1", load: "masked" } },
    "Unit a.service cannot be loaded on m1: systemd says masked",
  ],
  [
    {
      type: "failed",
      final: false,
      failure: {
        type: "task",
        machineId: "m1",
        error: { task: "write", code: "host-io", message: "disk full", attempts: 2 },
      },
    },
    "Unit a.service has trouble on m1: write: disk full (host-io, attempt 2, is tried again)",
  ],
  [
    { type: "failed", final: false, failure: { type: "superseded", by: "loaded" } },
    "Unit a.service was stopped meanwhile",
  ],
] as readonly Row[]) {
  test(`progressText(): ${text}`, () => {
    assert.equal(progressText(progress, GOAL, legend), text);
  });
}

test("worstExit() ranks failed over timed out over not found", () => {
  assert.equal(worstExit([]), 0);
  assert.equal(worstExit([0, 3]), 3);
  assert.equal(worstExit([4, 3, 0]), 4);
  assert.equal(worstExit([4, 1, 3]), 1);
  assert.equal(worstExit([0, 255]), 255);
});

const SSH = {
  username: undefined,
  timeoutSeconds: undefined,
  strict: true,
  knownHostsFile: undefined,
  keyFile: undefined,
  tunnel: undefined,
};

test("sshArguments() quotes each of several words for the remote shell, and leaves a single one to it", () => {
  const here = { address: "10.0.0.1", port: undefined, forwardAgent: false };
  const command = ["journalctl", "--unit", "a@it's $HOME.service", ""];
  assert.deepEqual(sshArguments(SSH, { ...here, command }), [
    "--",
    "10.0.0.1",
    `journalctl --unit 'a@it'\\''s $HOME.service' ''`,
  ]);
  assert.deepEqual(sshArguments(SSH, { ...here, command: ["ps ax | wc -l"] }), [
    "--",
    "10.0.0.1",
    "ps ax | wc -l",
  ]);
  assert.deepEqual(sshArguments(SSH, { ...here, command: [] }), ["--", "10.0.0.1"]);
});

test("sshArguments() maps the client's options, and goes through the tunnel", () => {
  const options = {
    username: "core",
    timeoutSeconds: 2.5,
    strict: true,
    knownHostsFile: "/a b",
    keyFile: "/key",
    tunnel: "gate:2222",
  };
  const command = { address: "10.0.0.1", port: 22, forwardAgent: true, command: [] };
  const own = ["-l", "core", "-i", "/key", "-o", 'UserKnownHostsFile="/a b"', "-o"];
  assert.deepEqual(sshArguments(options, command), [
    ...[...own, "ConnectTimeout=3"],
    "-o",
    `ProxyCommand=ssh -l core -i /key -o 'UserKnownHostsFile="/a b"' -o ConnectTimeout=3 -p 2222 -W '[%h]:%p' -- gate`,
    ...["-p", "22", "-A", "--", "10.0.0.1"],
  ]);
  const lax = sshArguments({ ...SSH, strict: false }, { ...command, forwardAgent: false });
  assert.ok(
    lax.includes("StrictHostKeyChecking=no") && lax.includes("UserKnownHostsFile=/dev/null"),
  );
});

test("the waiting line is rewritten on a terminal and gone before other output", () => {
  const clock = new VirtualClock();
  let text = "";
  const write = (part: string) => {
    text += part;
  };
  const line = new WaitingLine({ clock, write, width: 20 });
  line.clear();
  line.show("a.service: starting on m1");
  line.clear();
  line.clear();
  assert.equal(text, "\r\u001b[Ka.service: starting\r\u001b[K");
});

test("without a terminal it is a line every five seconds at most, when it has changed", async () => {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const line = new WaitingLine({ clock, write: (text) => lines.push(text), width: undefined });
  line.show("short wait");
  await clock.advance(5_000);
  line.show("one");
  line.show("two");
  await clock.advance(5_000);
  line.show("one");
  line.show("two");
  line.clear();
  assert.deepEqual(lines, ["one\n", "two\n"]);
});
