import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openLinuxHost } from "../../src/agent/linux-host.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { describeHostContract, type HostFixture } from "./host-contract.ts";

const MACHINE_ID = "0123456789abcdef0123456789abcdef";

interface FakeRoot {
  readonly root: string;
  readonly options: {
    readonly root: string;
    readonly volatileDirectory: string;
    readonly persistentDirectory: string;
  };
  boot(number: number): Promise<void>;
  close(): Promise<void>;
}

/** Folders of its own, so that the tests need no root and disturb no machine. */
async function fakeRoot(machineId = `${MACHINE_ID}\n`): Promise<FakeRoot> {
  const root = await mkdtemp(join(tmpdir(), "fleet-ts-host-"));
  const options = {
    root,
    volatileDirectory: join(root, "run/fleet"),
    persistentDirectory: join(root, "var/lib/fleet-ts"),
  };
  await mkdir(join(root, "etc"), { recursive: true });
  await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
  await writeFile(join(root, "etc/machine-id"), machineId);
  await writeFile(join(root, "etc/os-release"), 'NAME="Debian"\nID="debian"\n');
  await writeFile(join(root, "proc/sys/kernel/threads-max"), "1000\n");
  const boot = async (number: number) => {
    await rm(options.volatileDirectory, { recursive: true, force: true });
    await writeFile(join(root, "proc/sys/kernel/random/boot_id"), `boot-${number}\n`);
  };
  await boot(1);
  return { root, options, boot, close: () => rm(root, { recursive: true }) };
}

describeHostContract("linux", async (): Promise<HostFixture> => {
  const fake = await fakeRoot();
  const host = await openLinuxHost(fake.options);
  return {
    host,
    restartDaemon: () => openLinuxHost(fake.options),
    reboot: async () => {
      await fake.boot(2);
      return await openLinuxHost(fake.options);
    },
    breakDisk: async () => {
      // Where the records' folder was there is a file: needs no small disk to fill, and stops root too.
      const { volatileDirectory, persistentDirectory } = fake.options;
      const folders = [volatileDirectory, persistentDirectory].map((path) => join(path, "started"));
      const present = folders.filter((path) => existsSync(path));
      for (const path of present) {
        await rename(path, `${path}-away`);
        await writeFile(path, "");
      }
      return async () => {
        for (const path of present) {
          await rm(path);
          await rename(`${path}-away`, path);
        }
      };
    },
    close: fake.close,
  };
});

describe("openLinuxHost()", () => {
  it("takes away what writes that never ended have left", async () => {
    const fake = await fakeRoot();
    await mkdir(join(fake.options.volatileDirectory, "started"), { recursive: true });
    await writeFile(join(fake.options.volatileDirectory, ".new-1-1"), "half");
    await writeFile(join(fake.options.volatileDirectory, "started/.new-1-2"), "half");
    const host = await openLinuxHost(fake.options);
    assert.deepEqual(await host.volatile.list("started"), []);
    assert.deepEqual(await readdir(fake.options.volatileDirectory), ["started"]);
    assert.deepEqual(await readdir(join(fake.options.volatileDirectory, "started")), []);
    await fake.close();
  });

  for (const [why, text] of [
    ["empty", ""],
    ["of an image that never booted", "uninitialized\n"],
    ["too short", "0123\n"],
    ["all zeros", `${"0".repeat(32)}\n`],
    ["upper case", `${MACHINE_ID.toUpperCase()}\n`],
  ] as const) {
    it(`refuses a machine id that is ${why}`, async () => {
      const fake = await fakeRoot(text);
      await assert.rejects(openLinuxHost(fake.options), (error) => isFleetError(error, "host-io"));
      await fake.close();
    });
  }

  it("reads the distribution, the kernel and systemd's version", async () => {
    const fake = await fakeRoot();
    const { automatic, capacity } = await (await openLinuxHost(fake.options)).facts();
    assert.equal(automatic["os"], "debian");
    assert.equal(automatic["arch"], process.arch);
    assert.equal(capacity.tasks, 1_000);
    await fake.close();
  });
});
