import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Host, RecordFolder } from "../../src/agent/host.ts";
import { isFleetError } from "../../src/runtime/errors.ts";

export interface HostFixture {
  readonly host: Host;
  /** The same machine after its daemon was restarted. */
  restartDaemon(): Promise<Host>;
  /** The same machine after a boot. */
  reboot(): Promise<Host>;
  /** Until the returned function is called, the disk takes no write of `started/a` in either folder: it is full, or broken. */
  breakDisk(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** What every adapter of the Host port must do. */
export function describeHostContract(name: string, open: () => Promise<HostFixture>): void {
  const check = (title: string, body: (fixture: HostFixture) => Promise<void>) =>
    it(title, async () => {
      const fixture = await open();
      try {
        await body(fixture);
      } finally {
        await fixture.close();
      }
    });

  describe(`host contract: ${name}`, () => {
    check(
      "machineId is 32 digits and stays over a boot, bootId changes with it",
      async (fixture) => {
        const { machineId, bootId } = fixture.host;
        assert.match(machineId, /^[0-9a-f]{32}$/);
        assert.notEqual(bootId, "");
        const restarted = await fixture.restartDaemon();
        assert.deepEqual([restarted.machineId, restarted.bootId], [machineId, bootId]);
        const rebooted = await fixture.reboot();
        assert.equal(rebooted.machineId, machineId);
        assert.notEqual(rebooted.bootId, bootId);
      },
    );

    check(
      "facts() has an address or none, all automatic metadata and a capacity",
      async ({ host }) => {
        const { address, automatic, capacity } = await host.facts();
        assert.match(address, /^$|^[0-9a-f.:]+$/);
        const keys = ["arch", "hostname", "kernel", "os", "systemd"];
        assert.deepEqual(Object.keys(automatic).sort(), keys);
        for (const key of keys) assert.match(automatic[key] ?? "", /^\S+$/, key);
        for (const size of Object.values(capacity)) assert.ok(Number.isInteger(size) && size > 0);
      },
    );

    for (const folder of ["volatile", "persistent"] as const) {
      describe(folder, () => checkFolder(check, (host) => host[folder]));
    }

    check("a boot empties the volatile folder and nothing else", async (fixture) => {
      for (const folder of [fixture.host.volatile, fixture.host.persistent]) {
        await folder.write("lease", "7");
        await folder.write("started/a.service", "x");
      }
      const restarted = await fixture.restartDaemon();
      assert.equal(await restarted.volatile.read("lease"), "7");
      const { volatile, persistent } = await fixture.reboot();
      assert.equal(await volatile.read("lease"), undefined);
      assert.deepEqual(await volatile.list("started"), []);
      assert.equal(await persistent.read("lease"), "7");
      assert.deepEqual(await persistent.list("started"), ["a.service"]);
    });
  });
}

function checkFolder(
  check: (title: string, body: (fixture: HostFixture) => Promise<void>) => void,
  folderOf: (host: Host) => RecordFolder,
): void {
  check("read() gives what was written last, undefined for what is not there", async ({ host }) => {
    const folder = folderOf(host);
    assert.equal(await folder.read("lease"), undefined);
    assert.equal(await folder.read("started/a.service"), undefined);
    await folder.write("lease", "one");
    await folder.write("lease", "zwei \u{1f6e0}\n");
    await folder.write("empty", "");
    assert.equal(await folder.read("lease"), "zwei \u{1f6e0}\n");
    assert.equal(await folder.read("empty"), "");
  });

  check(
    "list() gives the last segments, sorted, and nothing of other folders",
    async ({ host }) => {
      const folder = folderOf(host);
      assert.deepEqual(await folder.list("started"), []);
      for (const unit of ["b@1.service", "a.service", "\\x2d.mount"]) {
        await folder.write(`started/${unit}`, unit);
      }
      await folder.write("started-not", "");
      await folder.write("other/c.service", "");
      assert.deepEqual(await folder.list("started"), ["\\x2d.mount", "a.service", "b@1.service"]);
      assert.equal(await folder.read("started/\\x2d.mount"), "\\x2d.mount");
    },
  );

  check(
    "remove() takes one record away and does not mind one that is not there",
    async ({ host }) => {
      const folder = folderOf(host);
      await folder.write("started/a", "1");
      await folder.write("started/b", "2");
      await folder.remove("started/a");
      await folder.remove("started/a");
      await folder.remove("nowhere/a");
      assert.deepEqual(await folder.list("started"), ["b"]);
    },
  );

  check("writes to one record at once leave one of the texts, whole", async ({ host }) => {
    const folder = folderOf(host);
    const texts = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(5_000));
    await Promise.all(texts.map((text) => folder.write("started/a", text)));
    assert.ok(texts.includes((await folder.read("started/a")) ?? ""));
    assert.deepEqual(await folder.list("started"), ["a"]);
  });

  check("a name as long as a unit's can be is taken", async ({ host }) => {
    const name = `started/${"u".repeat(247)}.service`;
    await folderOf(host).write(name, "x");
    assert.equal(await folderOf(host).read(name), "x");
  });

  check("names that lead elsewhere are refused as mistakes of the program", async ({ host }) => {
    const folder = folderOf(host);
    for (const name of ["", "..", "../x", "a/..", "a/../b", "/x", "a//b", "a/b/c", ".x", "a\0"]) {
      await assert.rejects(folder.write(name, "x"), { name: "AssertionError" }, name);
      await assert.rejects(folder.read(name), { name: "AssertionError" }, name);
      await assert.rejects(folder.remove(name), { name: "AssertionError" }, name);
    }
    for (const name of ["", "..", "a/b"]) {
      await assert.rejects(folder.list(name), { name: "AssertionError" }, name);
    }
  });

  check("a write that the disk refuses is host-io, and the old text stays", async (fixture) => {
    const folder = folderOf(fixture.host);
    await folder.write("started/a", "old");
    const mend = await fixture.breakDisk();
    await assert.rejects(
      folder.write("started/a", "new".repeat(100_000)),
      (error) => isFleetError(error, "host-io") && error.retriable,
    );
    await mend();
    assert.equal(await folder.read("started/a"), "old");
    assert.deepEqual(await folder.list("started"), ["a"]);
    await folder.write("started/a", "new");
    assert.equal(await folder.read("started/a"), "new");
  });
}
