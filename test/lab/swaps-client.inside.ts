// Runs on a machine of swaps.lab.test.ts: asks 200 times a second through an ambassador, and holds connections that must never end.
import { renameSync, writeFileSync } from "node:fs";
import { connect } from "node:net";

const PORT = 7_000;
const EVERY_MS = 5;
const LONG = 20;
/** Nothing here waits longer: a request without an answer by then has failed. */
const LATE_MS = 30_000;

const counts = {
  sent: 0,
  answered: 0,
  failed: {} as Record<string, number>,
  held: 0,
  cut: 0,
  echoes: 0,
};

function ask(): void {
  counts.sent += 1;
  const socket = connect(PORT, "127.0.0.1");
  let end = "ended without an answer";
  const fail = (why: string) => {
    end = why;
    socket.destroy();
  };
  socket.setTimeout(LATE_MS, () => fail("late"));
  socket.on("connect", () => socket.write("?"));
  socket.on("error", (error: NodeJS.ErrnoException) => fail(`${error.code}`));
  socket.on("data", () => {
    end = "";
    socket.end();
  });
  socket.on("close", () => {
    if (end === "") counts.answered += 1;
    else counts.failed[end] = (counts.failed[end] ?? 0) + 1;
  });
}

function hold(): void {
  const socket = connect(PORT, "127.0.0.1");
  let isHeld = false;
  socket.on("error", () => {});
  socket.on("data", (bytes: Buffer) => {
    if (!isHeld) counts.held += 1;
    isHeld = true;
    counts.echoes += bytes.length;
  });
  socket.on("close", () => (counts.cut += 1));
  socket.write("+");
  setInterval(() => socket.write("+"), 500);
}

for (let index = 0; index < LONG; index++) hold();
let begun = false;
process.on("SIGUSR1", () => {
  if (!begun) setInterval(ask, EVERY_MS);
  begun = true;
});
setInterval(() => {
  writeFileSync("/run/swaps-client.new", JSON.stringify(counts));
  renameSync("/run/swaps-client.new", "/run/swaps-client");
}, 100);
