import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { unitOfCgroup, unitPath } from "../../src/agent/dbus-names.ts";
import { readUnitText } from "../../src/agent/dbus-unit-text.ts";

describe("unitPath()", () => {
  for (const [unit, label] of [
    ["a.service", "a_2eservice"],
    ["web@1.service", "web_401_2eservice"],
    ["1a.service", "_31a_2eservice"],
    ["a-b_c\\x2d.mount", "a_2db_5fc_5cx2d_2emount"],
  ] as const) {
    it(`of ${unit} ends in ${label}`, () => {
      assert.equal(unitPath(unit), `/org/freedesktop/systemd1/unit/${label}`);
    });
  }
});

describe("unitOfCgroup()", () => {
  for (const [what, text, unit] of [
    ["a service of cgroup v2", "0::/system.slice/fleetd-ts.service\n", "fleetd-ts.service"],
    ["a process below a service", "0::/system.slice/a.service/init.scope\n", "a.service"],
    [
      "a service of cgroup v1",
      "5:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n",
      "a.service",
    ],
    ["a session", "0::/user.slice/user-0.slice/session-1.scope\n", undefined],
    ["nothing", "", undefined],
  ] as const) {
    it(`finds ${unit ?? "none"} in that of ${what}`, () => {
      assert.equal(unitOfCgroup(text), unit);
    });
  }
});

describe("readUnitText()", () => {
  const read = (unit: string, content: string) => readUnitText(unit, { content, dropIns: [] });
  for (const [unit, content, follows] of [
    ["a.service", "[Service]\nExecStart=/bin/true\n", true],
    ["a.timer", "[Timer]\nOnActiveSec=1\n", true],
    ["a.target", "[Unit]\n", true],
    ["a.socket", "[Socket]\nListenStream=1\n", false],
    ["a.slice", "[Slice]\n", false],
    ["a.mount", "[Mount]\nWhere=/a\n", false],
    ["early.service", "[Unit]\nDefaultDependencies=no\n", false],
    ["early.service", "[Unit]\nDefaultDependencies=yes\n", true],
    ["net.service", "[Unit]\nBefore=b.service network.target\n", false],
    ["late.service", "[Unit]\nBefore=b.service multi-user.target\n", true],
  ] as const) {
    it(`${unit} with ${JSON.stringify(content)} ${follows ? "follows" : "does not follow"} the daemon`, () => {
      assert.equal(read(unit, content).stopsBeforeDaemon, follows);
    });
  }

  it("finds [Install] in drop-ins too, and no empty one", () => {
    const dropIns = [
      { name: "a.conf", content: "[Install]\nAlias=b.service c.service\nAlso=d.socket\n" },
    ];
    const text = readUnitText("a.service", { content: "[Service]\n", dropIns });
    assert.deepEqual(
      [text.installs, text.installNames],
      [true, ["b.service", "c.service", "d.socket"]],
    );
    assert.equal(read("a.service", "[Install]\nWantedBy=\n").installs, false);
  });
});
