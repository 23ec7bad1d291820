import assert from "node:assert/strict";
import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import type { Readable, Writable } from "node:stream";
import { describe, it, type TestContext } from "node:test";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { readAll } from "../../src/registry/store.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { get, newestRevision, put } from "../contract/store-contract-fixture.ts";
import { EMBEDDED_WRITER } from "../support/embedded-writer.ts";

const TIMEOUT = { timeout: 120_000 };

describe("embedded store in a file", () => {
  it("goes on where it was closed, with full ttls and no history", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "registry.db");
    const first = open(file);
    const { leaseId } = await first.store.grantLease(5_000);
    const revoked = await first.store.grantLease(5_000);
    await put(first.store, "leased", "1", leaseId);
    await put(first.store, "kept", "1");
    await put(first.store, "kept", "2\u0000😀");
    await put(first.store, "gone", "1", revoked.leaseId);
    await first.store.revokeLease(revoked.leaseId);
    await first.clock.advance(4_999);
    const before = await readAll(first.store, { prefix: "" });
    await first.store.close();

    const { store, clock } = open(file);
    assert.deepEqual(await readAll(store, { prefix: "" }), before);
    assert.equal(await store.keepLeaseAlive(revoked.leaseId), undefined);
    const { revision } = before.header;
    const past = store.read({ range: { key: "kept" }, revision: revision - 1 });
    await assert.rejects(past, { code: "store-compacted" });
    for await (const batch of store.watch({ range: { prefix: "" }, fromRevision: revision })) {
      assert.deepEqual(batch, { type: "reset", why: "compacted" });
    }
    assert.equal((await put(store, "new", "")).header.revision, revision + 1);
    await clock.advance(4_999);
    assert.ok(await get(store, "leased"));
    await clock.advance(2);
    assert.equal(await get(store, "leased"), undefined);
    await store.close();
    const third = open(file);
    assert.equal(await get(third.store, "leased"), undefined, "the expiry is in the file");
    assert.equal(await newestRevision(third.store, ""), revision + 2);
    await third.store.close();
  });

  it("is readable by its owner only", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "registry.db");
    const { store } = open(file);
    await put(store, "secret", "");
    for (const path of [file, `${file}-wal`]) assert.equal(statSync(path).mode & 0o777, 0o600);
    await store.close();
  });

  it("holds every acknowledged write after kill -9", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "registry.db");
    const random = new SeededRandom(7);
    const acknowledged: Written[] = [];
    for (let round = 0; round < 6; round += 1) {
      const writer = start(test, "write", file);
      await writer.line("open");
      const writesMax = 1 + Math.floor(random.fraction() * 300);
      for (let count = 0; count < writesMax; count += 1) await writer.line("wrote");
      writer.process.kill("SIGKILL");
      acknowledged.push(...writtenIn(await writer.rest()));
      await assertHolds(file, acknowledged);
    }
    assert.ok(acknowledged.length >= 100);
  });

  it(
    "holds every acknowledged write in a copy of its files, torn at the end",
    TIMEOUT,
    async (test) => {
      const directory = directoryFor(test);
      const file = join(directory, "registry.db");
      const copy = join(directory, "copy.db");
      const writer = start(test, "write", file);
      await writer.line("open");
      for (let round = 0; round < 4; round += 1) {
        for (let count = 0; count < 150; count += 1) await writer.line("wrote");
        writer.process.kill("SIGSTOP");
        // What was said before it stopped is in the pipe; everything read by now was acknowledged before the copy.
        const acknowledged = writtenIn(writer.seen());
        // By another process: reading the file in ours is harmless here, but must not become a habit (see EmbeddedFile).
        execFileSync("cp", [file, copy]);
        execFileSync("cp", [`${file}-wal`, `${copy}-wal`]);
        writer.process.kill("SIGCONT");
        // A power failure leaves half-written blocks behind the last synced one.
        const torn = Array.from({ length: 5_000 }, (_, index) => (index * 7_919 + round) % 256);
        appendFileSync(`${copy}-wal`, Buffer.from(torn));
        await assertHolds(copy, acknowledged);
        for (const path of [copy, `${copy}-wal`]) rmSync(path, { force: true });
      }
      writer.process.kill("SIGKILL");
      await writer.rest();
    },
  );

  it(
    "keeps serving when the disk is full, and writes again when it is not",
    TIMEOUT,
    async (test) => {
      const file = join(directoryFor(test), "registry.db");
      // A limit on the size of files stands for the disk's; in KiB. It fails the same write that a full disk fails.
      const limited = ["-c", 'ulimit -S -f 3000; exec "$0" "$@"'];
      const writer = start(test, "fill", file, "bash", limited);
      await writer.line("open");
      const refused = await writer.line("refused");
      const written = writtenIn(writer.seen());
      assert.ok(written.length >= 5);
      const newest = written.at(-1)?.revision;
      assert.deepEqual(refused.slice(2), ["store-unavailable", String(newest), "0"]);

      writer.process.stdin.write("\n");
      assert.deepEqual((await writer.line("refused")).slice(2, 4), [
        "store-unavailable",
        String(newest),
      ]);
      execFileSync("prlimit", ["--pid", String(writer.process.pid), "--fsize=unlimited"]);
      writer.process.stdin.write("\n");
      const again = await writer.line("wrote");
      assert.equal(again[2], String((newest ?? 0) + 1));
      writer.process.stdin.end();
      await assertHolds(file, writtenIn(await writer.rest()));
    },
  );
});

describe("a commit that fails", () => {
  it(
    "takes nothing back and gives nothing away: keys, leases, watches, expiries",
    TIMEOUT,
    async (test) => {
      const file = join(directoryFor(test), "registry.db");
      const { store, clock } = open(file);
      const expiring = await store.grantLease(5_000);
      const revoked = await store.grantLease(60_000);
      await put(store, "expiring", "", expiring.leaseId);
      await put(store, "revoked", "", revoked.leaseId);
      const before = await readAll(store, { prefix: "" });
      const { leases } = store.snapshot();
      const fromRevision = before.header.revision + 1;
      const watch = store.watch({ range: { prefix: "" }, fromRevision })[Symbol.asyncIterator]();
      const firstBatch = watch.next();
      const unavailable = { code: "store-unavailable", retriable: true };
      limitFileSize("4096");
      try {
        await assert.rejects(put(store, "new", ""), unavailable);
        await assert.rejects(store.revokeLease(revoked.leaseId), unavailable);
        await assert.rejects(store.grantLease(1_000), unavailable);
        assert.ok(await store.keepLeaseAlive(revoked.leaseId), "a keep-alive needs no disk");
        await clock.advance(5_500);
        assert.deepEqual(await readAll(store, { prefix: "" }), before);
        assert.deepEqual(new Set(store.snapshot().leases), new Set(leases));
      } finally {
        limitFileSize("unlimited");
      }
      await clock.advance(1_000);
      assert.deepEqual((await firstBatch).value, {
        type: "changes",
        revision: fromRevision,
        changes: [{ type: "delete", key: "expiring", modRevision: fromRevision }],
      });
      await store.revokeLease(revoked.leaseId);
      assert.deepEqual((await readAll(store, { prefix: "" })).items, []);
      // The timer may still be set for the lease that was revoked; it must find nothing then and not be set again.
      await clock.advance(120_000);
      assert.equal(clock.nextDueMs(), undefined);
      await store.close();
      const again = open(file);
      assert.deepEqual((await readAll(again.store, { prefix: "" })).items, []);
      await again.store.close();
    },
  );
});

describe("a second opener of an embedded store", () => {
  it("is refused with the holder's process id until that is gone", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "registry.db");
    for (let round = 0; round < 2; round += 1) {
      // The first round creates the file and has written nothing, the second finds it.
      const holder = start(test, "hold", file);
      await holder.line("open");
      const message = new RegExp(`in use by process ${holder.process.pid}:`);
      assert.throws(() => open(file), { code: "store-in-use", message });
      holder.process.kill("SIGKILL");
      await holder.rest();
      const { store } = open(file);
      await put(store, "k", "");
      await store.close();
    }
  });

  it("does not break the holder's lock by trying in the same process", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "registry.db");
    const { store } = open(file);
    await put(store, "k", "1");
    const message = new RegExp(`in use by process ${process.pid}:`);
    assert.throws(() => open(file), { code: "store-in-use", message });
    const other = start(test, "hold", file);
    assert.equal((await other.line("failed"))[1], "store-in-use");
    await put(store, "k", "2");
    await store.close();
  });
});

describe("a damaged or foreign file", () => {
  it("is refused and left as it is", TIMEOUT, async (test) => {
    const directory = directoryFor(test);
    const sound = join(directory, "sound.db");
    const { store } = open(sound);
    for (let index = 0; index < 200; index += 1) await put(store, `k${index}`, "x".repeat(1_000));
    await store.close();
    const bytes = readFileSync(sound);
    const foreign = new DatabaseSync(join(directory, "foreign.db"));
    foreign.exec("CREATE TABLE other (a); INSERT INTO other VALUES (1)");
    foreign.close();
    const newer = copyWith(sound, join(directory, "newer.db"), "PRAGMA user_version = 99");
    const changed = "UPDATE items SET modified = 100000 WHERE key = 'k7'";
    const contradicting = copyWith(sound, join(directory, "contradicting.db"), changed);
    const noLease = "UPDATE items SET lease = 'none' WHERE key = 'k7'";
    const freed = "DELETE FROM items WHERE key > 'k2'";
    const badFreeList = copyWith(sound, join(directory, "free-list.db"), freed);
    // Where the header keeps the first free page (sqlite.org/fileformat.html): no read of the items goes there.
    assert.ok(badFreeList.readUInt32BE(32) > 0);
    badFreeList.writeUInt32BE(1_000_000, 32);
    const files: Readonly<Record<string, Buffer>> = {
      "free-list.db": badFreeList,
      "text.db": Buffer.from("not a database at all\n".repeat(500)),
      "header.db": Buffer.concat([Buffer.alloc(100), bytes.subarray(100)]),
      "middle.db": Buffer.concat([
        bytes.subarray(0, 40_000),
        Buffer.alloc(8_000, 0xff),
        bytes.subarray(48_000),
      ]),
      "short.db": bytes.subarray(0, Math.floor(bytes.length / 2)),
      "foreign.db": readFileSync(join(directory, "foreign.db")),
      "newer.db": newer,
      "contradicting.db": contradicting,
      "no-lease.db": copyWith(sound, join(directory, "no-lease.db"), noLease),
    };
    for (const [name, content] of Object.entries(files)) {
      const file = join(directory, name);
      writeFileSync(file, content);
      assert.throws(() => open(file), { code: "store-corrupt", message: new RegExp(name) }, name);
      assert.ok(readFileSync(file).equals(content), `${name} was written to`);
    }
  });

  it("is told from one that cannot be opened", TIMEOUT, async (test) => {
    const file = join(directoryFor(test), "missing", "registry.db");
    assert.throws(() => open(file), { code: "store-unavailable", message: /no such file/ });
  });
});

interface Written {
  readonly key: string;
  readonly revision: number;
}

interface Writer {
  readonly process: ChildProcessByStdio<Writable, Readable, null>;
  /** The next line that begins with this word, split into words. Lines before it are passed over. */
  line(word: string): Promise<readonly string[]>;
  /** Every line so far. */
  seen(): readonly string[];
  /** Every line, once the process is gone. */
  rest(): Promise<readonly string[]>;
}

function start(
  test: TestContext,
  mode: "hold" | "write" | "fill",
  file: string,
  program = process.execPath,
  before: readonly string[] = [],
): Writer {
  const node = program === process.execPath ? [] : [process.execPath];
  const args = [...before, ...node, EMBEDDED_WRITER, mode, file];
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  test.after(() => child.kill("SIGKILL"));
  const gone = once(child, "close");
  const lines: string[] = [];
  const reader = createInterface(child.stdout);
  const ended = once(reader, "close");
  let taken = 0;
  let isOver = false;
  let wake = () => {};
  reader.on("line", (line) => {
    lines.push(line);
    wake();
  });
  reader.on("close", () => {
    isOver = true;
    wake();
  });
  return {
    process: child,
    seen: () => [...lines],
    async line(word) {
      for (;;) {
        const line = lines[taken];
        if (line === undefined) {
          assert.ok(!isOver, `the writer ended; it said ${lines.at(-1)}`);
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        taken += 1;
        if (line.startsWith(word)) return line.split(" ");
      }
    },
    async rest() {
      await Promise.all([gone, ended]);
      return lines;
    },
  };
}

function writtenIn(lines: readonly string[]): readonly Written[] {
  return lines.flatMap((line) => {
    const [word, key, revision] = line.split(" ");
    return word === "wrote" && key !== undefined ? [{ key, revision: Number(revision) }] : [];
  });
}

async function assertHolds(file: string, acknowledged: readonly Written[]): Promise<void> {
  const { store } = open(file);
  const { items } = await readAll(store, { prefix: "" });
  const revisions = new Map(items.map((item) => [item.key, item.modRevision]));
  for (const { key, revision } of acknowledged) {
    assert.equal(revisions.get(key), revision, `${key} was acknowledged`);
  }
  await store.close();
}

function open(file: string): { readonly store: EmbeddedStore; readonly clock: VirtualClock } {
  const clock = new VirtualClock();
  return { store: openEmbeddedStore({ file, clock, random: new SeededRandom(1) }), clock };
}

/** Of this process, as a full disk would: nothing but the registry writes to files here. */
function limitFileSize(bytes: string): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}:unlimited`]);
}

function directoryFor(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-registry-"));
  test.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The content of a copy on which some SQL was run. */
function copyWith(file: string, copy: string, sql: string): Buffer {
  writeFileSync(copy, readFileSync(file));
  const database = new DatabaseSync(copy);
  database.exec(sql);
  database.exec("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = WAL");
  database.close();
  return readFileSync(copy);
}
