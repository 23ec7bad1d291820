import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { openEtcdStore } from "../../src/registry/etcd-store.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import type { Cleanup } from "../support/cleanup.ts";
import { startEtcd } from "../support/etcd-server.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { eventually, openStore, put, watch } from "./etcd-fixture.ts";

const TIMEOUT = { timeout: 60_000 };
const run = promisify(execFile);

describe("etcd: who may do what", TIMEOUT, () => {
  it("works as a user, over restarts of etcd, which forget its token", async (t) => {
    const etcd = await startEtcd(t);
    await etcd.etcdctl("user", "add", "root:secret");
    await etcd.etcdctl("user", "add", "fleet:secret");
    await etcd.etcdctl("role", "add", "fleet");
    await etcd.etcdctl("role", "grant-permission", "fleet", "readwrite", "--prefix=true", "/f/");
    await etcd.etcdctl("user", "grant-role", "root", "root");
    await etcd.etcdctl("user", "grant-role", "fleet", "fleet");
    await etcd.etcdctl("auth", "enable");
    const user = { servers: [etcd.url], clock: systemClock, username: "fleet" };
    const store = await openEtcdStore({ ...user, password: "secret" });
    t.after(() => store.close());
    const from = await put(store, "/f/a", "1");
    const watched = watch(t, store, { prefix: "/f/", from });
    await watched.until("/f/a");
    const lease = await store.grantLease(60_000);
    await etcd.kill();
    await etcd.start();
    await eventually(() => put(store, "/f/b", "1"));
    await watched.until("/f/b");
    assert.deepEqual(await store.keepLeaseAlive(lease.leaseId), lease);

    const denied = { code: "store-denied" };
    await assert.rejects(put(store, "/g/a", "1"), denied);
    await assert.rejects(store.read({ range: { prefix: "/" } }), denied);
    const stranger = await openEtcdStore({ ...user, password: "guessed" });
    t.after(() => stranger.close());
    await assert.rejects(stranger.read({ range: { key: "/f/a" } }), denied);
    await assert.rejects((await openStore(t, etcd.url)).read({ range: { key: "/f/a" } }), denied);
  });

  it("works over TLS with a certificate on both sides, and says why it does not", async (t) => {
    const tls = await makeCertificates(t);
    const etcd = await startEtcd(t, {
      tls: { ca: tls.path("ca.crt"), cert: tls.path("server.crt"), key: tls.path("server.key") },
    });
    const [ca, cert, key] = [tls.read("ca.crt"), tls.read("client.crt"), tls.read("client.key")];
    const common = { servers: [etcd.url], clock: systemClock };
    const store = await openEtcdStore({ ...common, ca, cert, key });
    t.after(() => store.close());
    const from = await put(store, "/a", "1");
    await watch(t, store, { prefix: "/", from }).until("/a");
    const stranger = await openEtcdStore(common);
    t.after(() => stranger.close());
    await assert.rejects(stranger.read({ range: { key: "/a" } }), {
      code: "store-unavailable",
      message: /certificate/,
    });
    // The same server under an address that its certificate does not name.
    const elsewhere = await TcpProxy.start(t, etcd.address, "127.0.0.2");
    const servers = [`https://127.0.0.2:${elsewhere.port}`];
    const misled = await openEtcdStore({ ...common, servers, ca, cert, key });
    t.after(() => misled.close());
    await assert.rejects(misled.read({ range: { key: "/a" } }), {
      code: "store-unavailable",
      message: /127\.0\.0\.2 is not in the cert's list/,
    });
  });
});

describe("etcd: what it costs those who do not use it", TIMEOUT, () => {
  it("loads etcd3 only when a store is opened, and lets the process end once it is closed", async () => {
    const script = `
      const loaded = () => Object.keys(require("node:module")._cache).some((path) => path.includes("/etcd3/"));
      const { openEtcdStore } = await import("./src/registry/etcd-store.ts");
      const { systemClock } = await import("./src/runtime/system-clock.ts");
      const before = loaded();
      const store = await openEtcdStore({ servers: ["http://127.0.0.1:1"], clock: systemClock });
      const watch = store.watch({ range: { prefix: "/" }, fromRevision: 1 })[Symbol.asyncIterator]().next().catch((error) => error.code);
      const read = await store.read({ range: { prefix: "/" } }).catch((error) => error.code);
      await store.close();
      console.log(JSON.stringify({ before, after: loaded(), read, watch: await watch }));
    `;
    const wrapped = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);${script}`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", wrapped]);
    assert.deepEqual(JSON.parse(stdout), {
      before: false,
      after: true,
      read: "store-unavailable",
      watch: "store-closed",
    });
  });
});

interface Certificates {
  path(name: string): string;
  read(name: string): string;
}

/** An authority and what it signed: a server on 127.0.0.1 and a client. */
async function makeCertificates(t: Cleanup): Promise<Certificates> {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-tls-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = (name: string) => join(directory, name);
  const openssl = async (...args: readonly string[]) => await run("openssl", [...args]);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  await openssl(
    ...["req", "-x509", ...newKey, "-days", "2", "-subj", "/CN=test authority"],
    ...["-keyout", path("ca.key"), "-out", path("ca.crt")],
  );
  writeFileSync(path("names"), "subjectAltName=IP:127.0.0.1\n");
  for (const name of ["server", "client"]) {
    const request = ["-keyout", path(`${name}.key`), "-out", path(`${name}.csr`)];
    await openssl("req", ...newKey, "-subj", `/CN=${name}`, ...request);
    await openssl(
      ...["x509", "-req", "-days", "2", "-in", path(`${name}.csr`), "-out", path(`${name}.crt`)],
      ...["-CA", path("ca.crt"), "-CAkey", path("ca.key"), "-CAcreateserial"],
      ...["-extfile", path("names")],
    );
  }
  return { path, read: (name) => readFileSync(path(name), "utf8") };
}
