import assert from "node:assert/strict";
import { test } from "node:test";
import { readUnits, treeProblemText } from "../../src/sync/read-units.ts";

const SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n";

function read(files: Readonly<Record<string, string>>) {
  const entries = Object.entries(files).map(([path, content]) => ({ path, content }));
  const { units, problems } = readUnits({ files: entries, problems: [] });
  return { units, problems: problems.map(treeProblemText) };
}

test("readUnits() takes units of all folders, which are their groups", () => {
  const { units, problems } = read({
    "top.service": SLEEP,
    "web/front/web.service": SLEEP,
    "README.md": "# nothing\n",
    ".git/hooks/evil.service": SLEEP,
    "web/notes.txt": "",
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    units.map(({ name, path, group, desired }) => [name, path, group, desired]),
    [
      ["top.service", "top.service", "", "launched"],
      ["web.service", "web/front/web.service", "web/front", "launched"],
    ],
  );
});

test("readUnits() makes the instances that a template says there are, with drop-ins of template and instance", () => {
  const { units, problems } = read({
    "web@.service": `${SLEEP}[X-Fleet]\nReplicas=2\nState=loaded\n`,
    "web@.service.d/10-a.conf": "[Service]\nNice=1\n",
    "web@2.service.d/10-a.conf": "[Service]\nNice=2\n",
    "web@2.service.d/20-b.conf": "[X-Fleet]\nState=launched\n",
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    units.map(({ name, desired, manifest }) => [name, desired, manifest.dropIns]),
    [
      ["web@.service", "inactive", [{ name: "10-a.conf", content: "[Service]\nNice=1\n" }]],
      ["web@1.service", "loaded", [{ name: "10-a.conf", content: "[Service]\nNice=1\n" }]],
      [
        "web@2.service",
        "launched",
        [
          { name: "10-a.conf", content: "[Service]\nNice=2\n" },
          { name: "20-b.conf", content: "[X-Fleet]\nState=launched\n" },
        ],
      ],
    ],
  );
});

test("readUnits() leaves out what .fleetignore names, for its folder and below", () => {
  const { units, problems } = read({
    "a/.fleetignore": "*.timer\n/old/\n",
    "a/x.service": SLEEP,
    "a/x.timer": "[Timer]\nOnCalendar=daily\n",
    "a/old/bad.service": "nonsense",
    "y.timer": "[Timer]\nOnCalendar=daily\n",
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    units.map(({ name }) => name),
    ["x.service", "y.timer"],
  );
});

const BAD: readonly (readonly [what: string, Readonly<Record<string, string>>, RegExp])[] = [
  [
    "a fault in a unit file",
    { "a/x.service": "[Service]\nExecStart\n" },
    /^a\/x\.service:2:1: missing "="/,
  ],
  [
    "a fault in a drop-in",
    { "a/x.service": SLEEP, "a/x.service.d/1.conf": "[X-Fleet]\nMachineOff=y\n" },
    /^a\/x\.service\.d\/1\.conf:2:1: unrecognized requirement/,
  ],
  [
    "one name twice",
    { "a/x.service": SLEEP, "b/x.service": SLEEP },
    /^b\/x\.service: is there a second time, at a\/x\.service/,
  ],
  [
    "a drop-in of nothing",
    { "x.service.d/1.conf": "[Service]\n" },
    /^x\.service\.d\/1\.conf: there is no x\.service/,
  ],
  ["a reserved name", { "dbus.service": SLEEP }, /^dbus\.service: the name is reserved/],
];

for (const [what, files, message] of BAD) {
  test(`readUnits() refuses ${what}, naming the file`, () => {
    const { problems } = read(files);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] ?? "", message);
  });
}
