import assert from "node:assert/strict";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeHeapSnapshot } from "node:v8";
import { prepareCommandLine } from "./program.ts";
import { StandardOutput } from "./standard-output.ts";
import type { Terminal } from "./terminal.ts";

const MACHINE = { id: "0123", present: true, address: "10.0.0.1", metadata: {} };
const UNIT = {
  ...{ name: "a.service", desired: "launched", blocked: [] },
  states: [{ machineId: MACHINE.id, identity: 1, active: "active", sub: "running" }],
  assigned: [{ machineId: MACHINE.id, present: true, target: "launched" }],
};
const ANSWER = JSON.stringify({ units: [UNIT], machines: [MACHINE], notices: [], revision: 1 });

/** Runs what people wait for most, against an API that always says the same: what ran is compiled in the snapshot of the memory that is taken then. */
export async function warmUp(terminal: Pick<Terminal, "clock">): Promise<void> {
  const path = join(tmpdir(), `fleetctl-ts-${process.pid}.sock`);
  const api = createServer((socket) =>
    socket.once("data", () => socket.end(`HTTP/1.0 200 OK\r\n\r\n${ANSWER}`)),
  );
  await once(api.listen(path), "listening");
  try {
    await runQuietly(terminal, ["version"]);
    await runQuietly(terminal, ["--endpoint", `unix://${path}`, "list-units"]);
  } finally {
    rmSync(path, { force: true });
    await once(api.close(), "close");
  }
  // A snapshot must not find objects whose finalizers did not run. This collects all garbage; the next turn runs them.
  writeHeapSnapshot("/dev/null");
  await new Promise((resolve) => setImmediate(resolve));
}

async function runQuietly(
  { clock }: Pick<Terminal, "clock">,
  words: readonly string[],
): Promise<void> {
  const output = new StandardOutput(() => process.stdout);
  let errors = "";
  const exit = await prepareCommandLine()(words, {
    clock,
    environment: {},
    writeOut: () => output.write(""),
    drained: async () => {},
    writeError: (text) => {
      errors += text;
    },
    width: undefined,
    readIn: async () => "",
    pipeIn: (socket) => socket.end(),
    ask: async () => undefined,
    openRemote: () => Promise.reject(new TypeError("there is no remote machine")),
    signal: new AbortController().signal,
  });
  await output.end();
  assert.equal(exit, 0, errors);
}
