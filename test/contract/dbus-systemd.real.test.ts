import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, it } from "node:test";
import { useLab } from "../support/use-lab.ts";

/**
 * The D-Bus adapter against the systemd of a machine of the lab. The tests themselves run inside it, since they stop the bus, fill disks and make units
 * of the host; here their outcome is reported, with all they said if one failed.
 */
const NODE = "/opt/node/bin/node";
const PROJECT = "/opt/app";

const lacking =
  process.platform !== "linux" || process.getuid?.() !== 0
    ? "booting a machine needs Linux and root"
    : ["/usr/bin/systemd-nspawn", "/usr/bin/dbus-daemon"].find((path) => !existsSync(path));

if (lacking !== undefined) console.log(`left out: D-Bus adapter on a real systemd (${lacking})`);
else {
  describe("F30 TestSystemdUnitFlow: D-Bus adapter on a real systemd", () => {
    const fixture = useLab({ machines: 1, daemons: false });

    const inMachine = async (...argv: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await fixture.lab.exec(1, ...argv);
      assert.equal(code, 0, `${argv.join(" ")} ended with ${code}:\n${stdout}${stderr}`);
      return stdout;
    };

    for (const file of ["dbus-systemd.inside.ts", "dbus-systemd-extra.inside.ts"]) {
      it(`${file} passes in a machine`, { timeout: 600_000 }, async () => {
        const path = `${PROJECT}/test/contract/${file}`;
        const said = await inMachine(NODE, "--test", "--test-reporter=spec", path);
        const passed = Number(/^ℹ pass (\d+)$/m.exec(said)?.[1]);
        assert.ok(passed > 5, said);
        assert.match(said, /^ℹ fail 0$/m);
      });
    }

    it("units stop before the daemon at shutdown, without an ordering cycle", async () => {
      const { lab } = fixture;
      const holder = `${PROJECT}/test/contract/hold-every-type.inside.ts`;
      await lab.writeFile(
        1,
        "/etc/systemd/system/fleetd-ts.service",
        "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/echo daemon stops now\n",
      );
      await inMachine("systemctl", "daemon-reload");
      await inMachine("systemctl", "start", "fleetd-ts.service");
      await inMachine(NODE, holder);
      await lab.poweroff(1);
      const journal = await lab.journal(1, "-o", "cat");
      assert.doesNotMatch(journal, /ordering cycle/);
      const order = journal.split("\n").filter((line) => /^(unit|daemon) stops now$/.test(line));
      assert.deepEqual(order, ["unit stops now", "daemon stops now"]);
    });
  });
}
