import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { SignalFilter, type SignalHeader } from "../../src/agent/dbus-signal-filter.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { waitFor } from "../support/wait-for.ts";

interface Frame {
  readonly type: number;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly sender?: string;
  readonly replySerial?: number;
  readonly signature?: string;
  readonly body?: readonly unknown[];
}

/** The package's own writer of messages, which it does not export with types. */
const { marshall } = createRequire(import.meta.url)("dbus-native/lib/message.js") as {
  marshall(frame: Frame): Buffer;
};

const frames = fc.array(
  fc.record({ isSignal: fc.boolean(), wanted: fc.boolean(), text: fc.string({ maxLength: 40 }) }),
  { maxLength: 12 },
);

function frameOf(
  index: number,
  spec: { isSignal: boolean; wanted: boolean; text: string },
): Buffer {
  const common = { serial: index + 1, sender: ":1.3", signature: "su", body: [spec.text, index] };
  const name = spec.wanted ? "Wanted" : "Other";
  return marshall(
    spec.isSignal
      ? { ...common, type: 4, path: `/unit/${name}`, interface: "a.b", member: `Member${name}` }
      : { ...common, type: 2, replySerial: 7 },
  );
}

/** Sends chunks to a filter and gives what comes out until the other side ends. */
async function passed(chunks: readonly Buffer[], seen: SignalHeader[]): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-ts-filter-"));
  const path = join(directory, "bus");
  const server = createServer(async (socket: Socket) => {
    socket.setNoDelay();
    for (const chunk of chunks) {
      socket.write(chunk);
      await setImmediate();
    }
    socket.end();
  });
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  const filter = new SignalFilter({
    socketPath: path,
    clock: systemClock,
    awaited: () => 0,
    wants: (signal) => {
      seen.push(signal);
      return signal.path === "/unit/Wanted";
    },
  });
  const out: Buffer[] = [];
  for await (const chunk of filter) out.push(chunk as Buffer);
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true });
  return Buffer.concat(out);
}

test("SignalFilter passes on all but unwanted signals, byte for byte, however the stream is cut", async () => {
  const greeting = Buffer.from("OK 0123456789abcdef\r\n");
  await fc.assert(
    fc.asyncProperty(
      frames,
      fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 30 }),
      async (specs, cuts) => {
        const all = specs.map((spec, index) => frameOf(index, spec));
        const stream = Buffer.concat([greeting, ...all]);
        const chunks: Buffer[] = [];
        let at = 0;
        for (const cut of cuts) {
          chunks.push(stream.subarray(at, at + cut));
          at += cut;
        }
        chunks.push(stream.subarray(at));
        const seen: SignalHeader[] = [];
        const kept = all.filter((_, index) => !specs[index]?.isSignal || specs[index]?.wanted);
        const out = await passed(
          chunks.filter((chunk) => chunk.length > 0),
          seen,
        );
        assert.deepEqual(out, Buffer.concat([greeting, ...kept]));
        const names = specs
          .filter((spec) => spec.isSignal)
          .map((spec) => (spec.wanted ? "Wanted" : "Other"));
        assert.deepEqual(
          seen,
          names.map((name) => ({ path: `/unit/${name}`, member: `Member${name}` })),
        );
      },
    ),
    { numRuns: 60, seed: 1 },
  );
});

test("SignalFilter leaves noise to gather, unless somebody waits for what comes next, and what a crowd waits for", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "fleet-ts-filter-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "bus");
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  t.after(() => void server.close());
  const clock = new VirtualClock();
  let awaited = 0;
  let seen = 0;
  const filter = new SignalFilter({
    ...{ socketPath: path, clock, awaited: () => awaited },
    wants: () => {
      seen += 1;
      return false;
    },
  });
  filter.resume();
  const [socket]: Socket[] = await once(server, "connection");
  assert(socket !== undefined);
  socket.setNoDelay();
  const noise = frameOf(0, { isSignal: true, wanted: false, text: "" });
  const untilSeen = (count: number) =>
    waitFor({
      what: `${count} signals are seen`,
      deadlineMs: 60_000,
      look: () => seen,
      until: (now) => now === count,
    });
  socket.write("OK 0123456789abcdef\r\n");
  for (const count of [1, 2, 3]) {
    socket.write(noise);
    await untilSeen(count);
  }
  for (let more = 0; more < 10; more += 1) {
    socket.write(noise);
    await setImmediate();
  }
  assert.equal(seen, 3);
  await clock.advance(100);
  await untilSeen(13);
  // Far more than a socket holds: the bus keeps the rest, in front of whatever is awaited next.
  const flood = 20_000;
  socket.write(Buffer.concat(Array.from({ length: flood }, () => noise)));
  let lulls = 0;
  for (; seen < 13 + flood; lulls += 1) {
    await clock.advance(100);
    await untilQuiet(() => seen);
  }
  assert.ok(lulls < 20, `${lulls} lulls`);
  seen = 13;
  await clock.advance(100);
  awaited = 1;
  filter.write("a call");
  for (const count of [14, 15, 16, 17]) {
    socket.write(noise);
    await untilSeen(count);
  }
  awaited = 50;
  for (const count of [18, 20, 22]) {
    socket.write(noise);
    await untilSeen(count);
    // Also where a call is made meanwhile.
    filter.write("a call");
    socket.write(noise);
    await setImmediate();
    await setImmediate();
    assert.equal(seen, count);
    await clock.advance(10);
    await untilSeen(count + 1);
    await clock.advance(10);
  }
  filter.destroy();
  assert.equal(clock.nextDueMs(), undefined);
  await once(socket.resume(), "close");
});

/** Until nothing comes any more for a while, which is a matter of turns and not of time. */
async function untilQuiet(look: () => number): Promise<void> {
  let before = look();
  for (let turns = 0; turns < 300; turns += 1) {
    await setImmediate();
    if (look() !== before) turns = 0;
    before = look();
  }
}
