import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { startEtcd, startEtcdCluster } from "../support/etcd-server.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  eventually,
  keyOf,
  newestRevision,
  openStore,
  put,
  putMany,
  watch,
} from "./etcd-fixture.ts";

const TIMEOUT = { timeout: 120_000 };

describe("etcd: watches over bad connections", TIMEOUT, () => {
  it("loses and doubles nothing of 20,000 revisions while its connection drops again and again", async (t) => {
    const etcd = await startEtcd(t);
    const proxy = await TcpProxy.start(t, etcd.address);
    const other = await openStore(t, etcd.url);
    const from = (await newestRevision(other)) + 1;
    const value = "x".repeat(150);
    const writeEvery = async (step: number, first: number) => {
      for (let index = first; index < 20_000; index += step) await put(other, `/w/${index}`, value);
    };
    await Promise.all(Array.from({ length: 100 }, (_, first) => writeEvery(100, first)));
    // etcd replays 1,000 revisions in a message, 0.2 MB here: less would let nothing through, ever.
    proxy.breakEvery({ direction: "to-client", bytes: 300_000 });
    const watched = watch(t, await openStore(t, proxy.url), { prefix: "/w/", from });
    await put(other, "/w/end", "");
    const batches = await watched.until("/w/end");
    assert.deepEqual(
      batches.map((batch) => batch.revision),
      Array.from({ length: 20_001 }, (_, index) => from + index),
    );
    const keys = batches.flatMap((batch) => batch.changes.map(keyOf));
    assert.equal(keys.length, 20_001);
    assert.equal(new Set(keys).size, 20_001);
    assert.ok(proxy.accepted > 5, `${proxy.accepted} connections`);
  });

  it("keeps revisions whole while its connection drops between the fragments of a message", async (t) => {
    const etcd = await startEtcd(t);
    const proxy = await TcpProxy.start(t, etcd.address);
    const other = await openStore(t, etcd.url);
    const from = (await newestRevision(other)) + 1;
    const value = "x".repeat(13_000);
    for (let index = 0; index < 20; index += 1) {
      await putMany(other, { prefix: `/w/${index}/`, count: 100, value });
    }
    proxy.breakEvery({ direction: "to-client", bytes: 5_000_000 });
    const watched = watch(t, await openStore(t, proxy.url), { prefix: "/w/", from });
    await put(other, "/w/end", "");
    const batches = await watched.until("/w/end");
    assert.deepEqual(
      batches.map((batch) => [batch.revision, batch.changes.length]),
      Array.from({ length: 21 }, (_, index) => [from + index, index < 20 ? 100 : 1]),
    );
    assert.ok(proxy.accepted > 3, `${proxy.accepted} connections`);
  });

  it("gives out a backlog of more than 4 MiB", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 1;
    const value = "x".repeat(14_000);
    for (let index = 0; index < 5; index += 1) {
      await putMany(store, { prefix: `/w/${index}/`, count: 100, value });
    }
    const watched = watch(t, store, { prefix: "/w/", from });
    for (let index = 0; index < 5; index += 1) {
      const batch = await watched.next();
      assert.ok(batch.type === "changes");
      assert.equal(batch.revision, from + index);
      assert.equal(batch.changes.length, 100);
    }
  });

  it("is not reset by the compaction of revisions that did not concern it", async (t) => {
    const etcd = await startEtcd(t, {
      flags: ["--experimental-watch-progress-notify-interval=100ms"],
    });
    const proxy = await TcpProxy.start(t, etcd.address);
    const other = await openStore(t, etcd.url);
    const from = (await newestRevision(other)) + 1;
    const watched = watch(t, await openStore(t, proxy.url), { prefix: "/quiet/", from });
    const next = watched.next();
    for (let index = 0; index < 400; index += 1) {
      await putMany(other, { prefix: `/busy/${index}/`, count: 10, value: "" });
    }
    // Nothing but etcd's notes on its progress, 50 bytes each, passes while nothing changes.
    const written = proxy.passed("to-client");
    await waitFor({
      what: "etcd reported its progress",
      deadlineMs: 60_000,
      look: () => proxy.passed("to-client") - written,
      until: (bytes) => bytes > 300,
    });
    await proxy.cut();
    await etcd.etcdctl("compact", String(await newestRevision(other)));
    const revision = await put(other, "/quiet/a", "1");
    proxy.mend();
    const batch = await next;
    assert.equal(batch.type, "changes", JSON.stringify(batch));
    assert.ok(batch.type === "changes" && batch.revision === revision);
  });

  it("is not reset by what other watches begin with while it is being fed", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    const other = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 1;
    const fed = watch(t, store, { prefix: "fed/", from });
    const writes = 400;
    const written = (async () => {
      for (let write = 0; write < writes; write += 1) await put(other, `fed/${write}`, "x");
      await put(other, "fed/last", "x");
    })();
    const added = (async () => {
      for (let each = 0; each < writes; each += 1) {
        // A watch begins with its first step; this one has nothing to tell.
        watch(t, store, { prefix: `other/${each}/`, from })
          .next()
          .catch(() => undefined);
        await newestRevision(store);
      }
    })();
    const batches = await fed.until("fed/last");
    await Promise.all([written, added]);
    assert.equal(batches.length, writes + 1);
  });

  it("ends with overflow when nobody takes what it holds", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 1;
    const watched = watch(t, store, { prefix: "/w/", from });
    const lively = watch(t, store, { prefix: "/w/", from });
    const seen = lively.until("/w/end");
    await put(store, "/w/first", "");
    assert.equal((await watched.next()).type, "changes");
    for (let index = 0; index < 700; index += 1) {
      await putMany(store, { prefix: `/w/${index}/`, count: 100, value: "" });
    }
    await put(store, "/w/end", "");
    assert.equal((await seen).length, 702, "others go on");
    assert.deepEqual(await watched.next(), { type: "reset", why: "overflow" });
  });
});

describe("etcd: a store that is not what it was", TIMEOUT, () => {
  it("ends a watch with rewound when etcd was wiped and started with the same flags", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    for (let index = 0; index < 20; index += 1) await put(store, "/w/a", String(index));
    const from = (await newestRevision(store)) + 1;
    const next = watch(t, store, { prefix: "/w/", from }).next();
    await etcd.wipe();
    await etcd.start();
    assert.deepEqual(await next, { type: "reset", why: "rewound" });
    const again = watch(t, store, { prefix: "/w/", from: (await newestRevision(store)) + 1 });
    const revision = await put(store, "/w/b", "1");
    assert.ok(revision < from);
    assert.equal((await again.until("/w/b")).length, 1);
  });

  it("ends a watch with replaced when the wiped etcd has grown past what was seen", async (t) => {
    const etcd = await startEtcd(t);
    const proxy = await TcpProxy.start(t, etcd.address);
    const store = await openStore(t, proxy.url);
    const other = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 1;
    await put(store, "/w/a", "1");
    const watched = watch(t, store, { prefix: "/w/", from });
    assert.equal((await watched.next()).type, "changes");
    const next = watched.next();
    await proxy.cut();
    await etcd.wipe();
    await etcd.start();
    for (let index = 0; index < 20; index += 1) {
      await eventually(() => put(other, "/w/a", `new ${index}`));
    }
    proxy.mend();
    assert.deepEqual(await next, { type: "reset", why: "replaced" });
  });

  it("ends a watch with replaced when another etcd answers at its address", async (t) => {
    const etcd = await startEtcd(t);
    const usurper = await startEtcd(t);
    const proxy = await TcpProxy.start(t, etcd.address);
    const store = await openStore(t, proxy.url);
    const before = await store.read({ range: { key: "/" } });
    const from = before.header.revision + 1;
    const watched = watch(t, store, { prefix: "/w/", from });
    await put(store, "/w/a", "1");
    assert.equal((await watched.next()).type, "changes");
    const next = watched.next();
    const direct = await openStore(t, usurper.url);
    for (let index = 0; index < 20; index += 1) await put(direct, "/w/a", String(index));
    proxy.retarget(usurper.address);
    await etcd.kill();
    assert.deepEqual(await next, { type: "reset", why: "replaced" });
    const after = await store.read({ range: { key: "/" } });
    assert.notEqual(after.header.storeId, before.header.storeId);
  });

  it("ends every watch with rewound when a snapshot was restored, silent ones too", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fleet-ts-snapshot-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    for (let index = 0; index < 10; index += 1) await put(store, "/w/a", String(index));
    const from = (await newestRevision(store)) + 1;
    const silent = watch(t, store, { prefix: "/silent/", from }).next();
    await etcd.snapshot(join(directory, "db"));
    for (let index = 0; index < 10; index += 1) await put(store, "/w/a", `lost ${index}`);
    await etcd.kill();
    await etcd.restore(join(directory, "db"));
    await etcd.start();
    assert.deepEqual(await silent, { type: "reset", why: "rewound" });
  });

  it("resets a watch that begins after the newest revision", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 100;
    const batch = await watch(t, store, { prefix: "/w/", from }).next();
    assert.deepEqual(batch, { type: "reset", why: "rewound" });
  });
});

describe("etcd: servers that fail", TIMEOUT, () => {
  it("says which servers do not answer and what to do, and works once they do", async (t) => {
    const etcd = await startEtcd(t);
    await etcd.stop();
    const store = await openStore(t, etcd.url);
    await assert.rejects(store.read({ range: { key: "/" } }), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, new RegExp(`cannot read /: etcd at ${etcd.url} does not answer`));
      assert.match(error.message, /ECONNREFUSED/);
      assert.match(error.message, /etcd_servers/);
      assert.ok("code" in error && error.code === "store-unavailable");
      return true;
    });
    const next = watch(t, store, { prefix: "/w/", from: 1 }).next();
    await etcd.start();
    await put(store, "/w/a", "1");
    assert.equal((await next).type, "changes");
  });

  it("passes over servers that refuse or never answer, within the call's deadline", async (t) => {
    const etcd = await startEtcd(t);
    const refusing = await TcpProxy.start(t, etcd.address);
    await refusing.cut();
    const silent = await TcpProxy.start(t, etcd.address);
    silent.pause("to-client");
    const store = await openStore(t, refusing.url, silent.url, etcd.url);
    await put(store, "/a", "1");
  });

  it("fails a transaction whose answer is lost, and applies it at most once", async (t) => {
    const etcd = await startEtcd(t);
    const proxy = await TcpProxy.start(t, etcd.address);
    const store = await openStore(t, proxy.url, proxy.url);
    const other = await openStore(t, etcd.url);
    const from = await put(store, "/w/before", "");
    const watched = watch(t, other, { prefix: "/w/", from });
    proxy.drop("to-client");
    const ambiguous = put(store, "/w/ambiguous", "1");
    const failed = assert.rejects(ambiguous, { code: "store-unavailable", retriable: true });
    await watched.until("/w/ambiguous");
    await proxy.breakConnections();
    proxy.restore("to-client");
    await failed;
    await eventually(() => store.read({ range: { key: "/w/before" } }));
    await put(store, "/w/end", "");
    assert.deepEqual(
      (await watched.until("/w/end")).flatMap((each) => each.changes.map(keyOf)),
      ["/w/end"],
    );
  });

  it("ends calls to a frozen server at their deadline and goes on when it thaws", async (t) => {
    const etcd = await startEtcd(t);
    const store = await openStore(t, etcd.url);
    const from = (await newestRevision(store)) + 1;
    const watched = watch(t, store, { prefix: "/w/", from });
    await put(store, "/w/before", "");
    await watched.until("/w/before");
    etcd.freeze();
    const late = { code: "store-deadline", retriable: true };
    await assert.rejects(store.read({ range: { key: "/" } }, { deadlineMs: 200 }), late);
    await assert.rejects(store.grantLease(60_000, { deadlineMs: 1_500 }), {
      code: /^store-(deadline|unavailable)$/,
    });
    etcd.thaw();
    await eventually(() => put(store, "/w/after", ""));
    await watched.until("/w/after");
  });

  it("moves calls and watches from a frozen member to another", async (t) => {
    const members = await startEtcdCluster(t);
    const [first, second, third] = members;
    assert.ok(first && second && third);
    const store = await openStore(t, first.url, second.url, third.url);
    const other = await openStore(t, second.url, third.url);
    const from = (await newestRevision(store)) + 1;
    const watched = watch(t, store, { prefix: "/w/", from });
    await put(store, "/w/before", "");
    await watched.until("/w/before");
    first.freeze();
    await assert.rejects(store.read({ range: { key: "/" } }, { deadlineMs: 1_500 }), {
      code: "store-deadline",
    });
    await eventually(() => put(other, "/w/meanwhile", ""));
    await watched.until("/w/meanwhile");
    await put(store, "/w/after", "");
    await watched.until("/w/after");
  });

  it("moves a watch away from a frozen member, though nobody calls anything", async (t) => {
    const [first, second, third] = await startEtcdCluster(t);
    assert.ok(first && second && third);
    const other = await openStore(t, second.url, third.url);
    const from = (await newestRevision(other)) + 1;
    const store = await openStore(t, first.url, second.url);
    const watched = watch(t, store, { prefix: "/w/", from });
    await put(other, "/w/before", "");
    await watched.until("/w/before");
    first.freeze();
    await eventually(() => put(other, "/w/after", ""));
    await watched.until("/w/after");
  });

  it("loses and doubles nothing when the leader is killed under load", async (t) => {
    const members = await startEtcdCluster(t);
    const leading = await Promise.all(members.map((member) => member.isLeader()));
    const leader = members[leading.indexOf(true)];
    assert.ok(leader);
    const rest = members.filter((member) => member !== leader);
    const store = await openStore(t, leader.url, ...rest.map((member) => member.url));
    const from = (await newestRevision(store)) + 1;
    const watched = watch(t, store, { prefix: "/w/", from });
    const acknowledged: string[] = [];
    for (let index = 0; index < 400; index += 1) {
      if (index === 200) await leader.kill();
      // Each key is tried once, so that applying one twice would show.
      try {
        await put(store, `/w/${index}`, "");
        acknowledged.push(`/w/${index}`);
      } catch {}
    }
    await eventually(() => put(store, "/w/end", ""));
    assert.ok(acknowledged.length > 200, "it wrote on after the leader's death");
    const keys = (await watched.until("/w/end")).flatMap((batch) => batch.changes.map(keyOf));
    assert.equal(new Set(keys).size, keys.length, "each once");
    const seen = new Set(keys);
    assert.deepEqual(
      acknowledged.filter((key) => !seen.has(key)),
      [],
    );
  });
});
