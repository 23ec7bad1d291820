import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Lab } from "../support/lab.ts";
import { run, runOk } from "../support/run.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, etcdMembers: 3, daemons: false });

async function pings(from: number, to: number): Promise<boolean> {
  const address = await fixture.lab.address(to);
  // ping is not on every host; an open port answers, a cut line does not.
  const probe = `exec 3<>/dev/tcp/${address}/7777`;
  return (await fixture.lab.exec(from, "timeout", "0.5", "bash", "-c", probe)).code === 0;
}

test("machines have a systemd of their own that settles as running", async () => {
  for (const machine of fixture.lab.machines) {
    const { stdout } = await fixture.lab.exec(machine, "systemctl", "is-system-running", "--wait");
    assert.equal(stdout.trim(), "running");
  }
});

test("partition() cuts the line to the peers named, heal() mends it", async () => {
  const { lab } = fixture;
  for (const machine of lab.machines) {
    await lab.writeFile(
      machine,
      "/etc/systemd/system/answer.socket",
      "[Socket]\nListenStream=7777\nAccept=yes\n",
    );
    await lab.writeFile(
      machine,
      "/etc/systemd/system/answer@.service",
      "[Service]\nExecStart=/bin/true\nStandardInput=socket\n",
    );
    await lab.exec(machine, "systemctl", "daemon-reload");
    assert.equal((await lab.exec(machine, "systemctl", "start", "answer.socket")).code, 0);
  }
  assert.equal(await pings(1, 2), true);
  await lab.partition(1, 2);
  assert.deepEqual([await pings(1, 2), await pings(2, 1), await pings(1, 3)], [false, false, true]);
  await lab.heal(1);
  assert.equal(await pings(1, 2), true);
  await lab.partition(3);
  assert.deepEqual([await pings(3, 1), await pings(1, 2)], [false, true]);
  await lab.heal(3);
  assert.equal(await pings(3, 1), true);
});

test("a killed machine keeps /var and its journal, loses /run and gets another boot id", async () => {
  const { lab } = fixture;
  const bootId = async () => (await lab.exec(2, "journalctl", "--list-boots", "-q")).stdout;
  await lab.exec(2, "touch", "/var/kept", "/run/lost");
  await lab.exec(2, "systemd-run", "--wait", "echo", "said before the end");
  const before = await bootId();
  await lab.kill(2);
  assert.equal((await lab.exec(2, "true")).code, 1);
  await lab.start(2);
  assert.equal((await lab.exec(2, "test", "-e", "/var/kept")).code, 0);
  assert.equal((await lab.exec(2, "test", "-e", "/run/lost")).code, 1);
  assert.notEqual(await bootId(), before);
  assert.match(await lab.journal(2), /said before the end/);
});

test("a paused machine does nothing until it is resumed", async () => {
  const { lab } = fixture;
  await lab.exec(3, "systemd-run", "--unit=count", "sh", "-c", "while echo x; do sleep 0.02; done");
  const lines = async () => (await lab.journal(3, "-u", "count", "-o", "cat")).length;
  await lab.waitFor({ what: "it counts", deadlineMs: 30_000, look: lines, until: (n) => n > 0 });
  await lab.pause(3);
  const state = await runOk([`${import.meta.dirname}/../../lab/lab.sh`, "status"], {
    env: { LAB_DIR: lab.dir },
  });
  assert.match(state, /m3 .*paused/);
  const paused = await lines();
  await lab.resume(3);
  await lab.waitFor({
    what: "it counts on",
    deadlineMs: 30_000,
    look: lines,
    until: (n) => n > paused,
  });
});

test("etcd serves with one of three members away, and is empty after a wipe", async () => {
  const { lab } = fixture;
  await lab.etcd("kill", 1);
  await lab.waitFor({
    what: "a write goes through",
    deadlineMs: 30_000,
    look: () => lab.etcdctl("put", "key", "value"),
    until: (result) => result.code === 0,
  });
  await lab.etcd("start", 1);
  assert.match((await lab.etcdctl("get", "key")).stdout, /value/);
  await lab.etcd("wipe");
  assert.equal((await lab.etcdctl("get", "key")).stdout, "");
});

test("Lab.close() leaves no process, mount, link, namespace, cgroup or file", async () => {
  const lab = await Lab.open({ machines: 2, daemons: false, registry: "etcd-in-machines" });
  const settings = (await runOk(["cat", `${lab.dir}/settings`])).match(/10\.\d+\.\d+/)?.[0];
  assert(settings !== undefined);
  await lab.close();
  assert.equal(existsSync(lab.dir), false);
  assert.doesNotMatch(await runOk(["ip", "-o", "addr"]), new RegExp(`${settings}\\.`));
  assert.doesNotMatch(await runOk(["cat", "/proc/mounts"]), new RegExp(lab.dir));
  const tag = `lab${(await run(["md5sum"], { input: lab.dir })).stdout.slice(0, 4)}`;
  assert.equal((await run(["ip", "link", "show", tag])).code, 1);
  const left = (directory: string) =>
    existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith(tag)) : [];
  assert.deepEqual(left("/run/netns"), []);
  assert.deepEqual(left("/sys/fs/cgroup"), []);
  assert.deepEqual(left("/sys/fs/cgroup/unified"), []);
  const lines = await runOk(["ps", "-eo", "args"]);
  assert.equal(lines.includes(lab.dir), false);
});
