import assert from "node:assert/strict";
import { test } from "node:test";
import { isReservedUnitName, reservedNameReason } from "../../src/units/reserved-names.ts";
import {
  instanceOf,
  isInstance,
  isTemplate,
  mangleUnitName,
  parseUnitName,
  templateOf,
  UNIT_TYPES,
  validateUnitName,
} from "../../src/units/unit-name.ts";

const STRUCTURE = [
  // name, stem, prefix, template, instance, type
  ["foo.service", "foo", "foo", undefined, undefined, "service"],
  ["foo@.service", "foo@", "foo", undefined, "", "service"],
  ["foo@bar.service", "foo@bar", "foo", "foo@.service", "bar", "service"],
  ["foo@bar@baz.service", "foo@bar@baz", "foo", "foo@.service", "bar@baz", "service"],
  ["foo.1@.service", "foo.1@", "foo.1", undefined, "", "service"],
  ["foo.1@2.service", "foo.1@2", "foo.1", "foo.1@.service", "2", "service"],
  ["ssh@.socket", "ssh@", "ssh", undefined, "", "socket"],
  ["ssh@1.socket", "ssh@1", "ssh", "ssh@.socket", "1", "socket"],
  ["foo@b.c.service", "foo@b.c", "foo", "foo@.service", "b.c", "service"],
  ["foo.bar@b.service", "foo.bar@b", "foo.bar", "foo.bar@.service", "b", "service"],
  ["@a.service", "@a", "", "@.service", "a", "service"],
  [".service", "", "", undefined, undefined, "service"],
  ["foo@bar.waldo", "foo@bar", "foo", "foo@.waldo", "bar", "waldo"],
] as const;

for (const [name, stem, prefix, template, instance, type] of STRUCTURE) {
  test(`parseUnitName() takes ${name} apart`, () => {
    assert.deepEqual(parseUnitName(name), { full: name, stem, prefix, instance, type });
    assert.equal(templateOf(name), template);
    assert.equal(isInstance(name), instance !== undefined && instance !== "");
    assert.equal(isTemplate(name), instance === "");
  });
}

for (const text of ["", "foo", "bar@baz"]) {
  test(`parseUnitName() gives nothing for ${JSON.stringify(text)}, which has no type`, () => {
    assert.equal(parseUnitName(text), undefined);
    assert.equal(templateOf(text), undefined);
    assert.equal(isTemplate(text), false);
    assert.equal(isInstance(text), false);
  });
}

const VALID = [
  "foo.service",
  "hello.mount",
  "foo@123.service",
  "foo@.service",
  "yo.yo.service",
  "hello@world.path",
  "hello:world.service",
  "yes@no\\.service",
  "foo-bar.mount",
  "jalapano_chips.service",
  "foo@1@2.service",
  "foo.swap",
  "foo.target",
  "foo.slice",
  "foo.automount",
  ...["path", "service", "socket", "target", "timer"].map((type) => `foo@1.${type}`),
  `${"a".repeat(255 - ".service".length)}.service`,
];

for (const name of VALID) {
  test(`validateUnitName() accepts ${name.slice(0, 40)}`, () => {
    assert.equal(validateUnitName(name), undefined);
  });
}

const TOO_LONG = "unit name exceeds maximum length (255)";
const INVALID = [
  ["", "unit name cannot be empty"],
  ["a".repeat(257), TOO_LONG],
  ["a".repeat(512), TOO_LONG],
  ["fooservice", 'unit name must contain "."'],
  ["barmount", 'unit name must contain "."'],
  ["bar@foo", 'unit name must contain "."'],
  ["foo.", 'unit name cannot end in "."'],
  ["foo.service.", 'unit name cannot end in "."'],
  ["foo@foo.service.", 'unit name cannot end in "."'],
  ["foo.bar", 'invalid unit type: ".bar"'],
  ["hello.cerveza", 'invalid unit type: ".cerveza"'],
  ["foo.servICE", 'invalid unit type: ".servICE"'],
  ["foo.constructor", 'invalid unit type: ".constructor"'],
  ["foo%.service", "invalid character '%' in unit name"],
  ["foo$asd.service", "invalid character '$' in unit name"],
  ["hello##.mount", "invalid character '#' in unit name"],
  ["yes/no.service", "invalid character '/' in unit name"],
  ["this+that.mount", "invalid character '+' in unit name"],
  ["a b.service", "invalid character ' ' in unit name"],
  ["a\nb.service", "invalid character '\n' in unit name"],
  ["\u{1f600}.service", "invalid character '\u{1f600}' in unit name"],
  ["dog=woof@.mount", 'invalid unit type for template: ".mount"'],
  ["@foo.service", 'unit name cannot start in "@"'],
  ["@this.mount", 'invalid unit type for template: ".mount"'],
  ...["automount", "mount", "slice", "swap"].map((type) => [
    `foo@1.${type}`,
    `invalid unit type for template: ".${type}"`,
  ]),
  ["foo@{1,3}.service", "invalid character '{' in unit name"],
  ["foo@{1..3}.service", "invalid character '{' in unit name"],
  ["foo.{1-3}.service", "invalid character '{' in unit name"],
] as const;

for (const [name, message] of INVALID) {
  test(`validateUnitName() refuses ${JSON.stringify(name).slice(0, 40)}`, () => {
    assert.equal(validateUnitName(name), message);
  });
}

const STRICTER_THAN_FLEET = [
  ["256 bytes: systemd takes 255", `${"a".repeat(248)}.service`, TOO_LONG],
  [
    "nothing before the type: systemd refuses it",
    ".service",
    'unit name has nothing before ".service"',
  ],
  [
    "device: nobody can write a file for one",
    "sda.device",
    'invalid unit type: ".device": devices come from udev, not from unit files',
  ],
  [
    "scope: only programs make them",
    "a.scope",
    'invalid unit type: ".scope": scopes are made by running programs, not from unit files',
  ],
  [
    "snapshot: gone from systemd",
    "a.snapshot",
    'invalid unit type: ".snapshot": systemd dropped snapshots in version 228',
  ],
  [
    "busname: gone from systemd",
    "a.busname",
    'invalid unit type: ".busname": systemd dropped bus names in version 232',
  ],
] as const;

for (const [why, name, message] of STRICTER_THAN_FLEET) {
  test(`validateUnitName() refuses, other than fleet, ${why}`, () => {
    assert.equal(validateUnitName(name), message);
  });
}

test("mangleUnitName() finds the unit that an argument means", () => {
  const table = {
    foo: "foo.service",
    "foo.1": "foo.1.service",
    "foo/bar.socket": "bar.socket",
    "foo.socket": "foo.socket",
    "foo.service": "foo.service",
    "foo@1": "foo@1.service",
    "foo.link": "foo.link.service",
    "./units/web@.service": "web@.service",
    "/foo/bar/": "bar.service",
    "": "",
    "/": "",
  };
  for (const [argument, name] of Object.entries(table)) {
    assert.equal(mangleUnitName(argument), name, argument);
  }
});

test("mangleUnitName() keeps every type that is valid, other than fleet with .target, .swap and .slice", () => {
  for (const type of UNIT_TYPES) assert.equal(mangleUnitName(`dir/a.${type}`), `a.${type}`);
});

test("mangleUnitName() keeps a type that is refused, so that the refusal names it", () => {
  assert.equal(mangleUnitName("a.scope"), "a.scope");
  assert.match(validateUnitName(mangleUnitName("a.scope")) ?? "", /^invalid unit type: "\.scope"/);
});

test("instanceOf() makes the name of an instance, or nothing if that would not be valid", () => {
  assert.equal(instanceOf("web@.service", "1"), "web@1.service");
  assert.equal(templateOf(instanceOf("a.b@.socket", "c@d.e") ?? ""), "a.b@.socket");
  assert.equal(instanceOf("web@.service", ""), undefined);
  assert.equal(instanceOf("web@.service", "a/b"), undefined);
  assert.equal(instanceOf("web.service", "1"), undefined);
  assert.equal(instanceOf("web@2.service", "1"), undefined);
  assert.equal(instanceOf("web@.service", "x".repeat(250)), undefined);
});

test("isReservedUnitName() protects systemd's special units and our own", () => {
  const reserved = [
    "-.slice",
    "system.slice",
    "user-1000.slice",
    "init.scope",
    "-.mount",
    "multi-user.target",
    "poweroff.target",
    "default.target",
    "runlevel5.target",
    "initrd-fs.target",
    "network-online.target",
    "dbus.service",
    "dbus.socket",
    "systemd-journald.service",
    "systemd-udevd-kernel.socket",
    "getty@tty1.service",
    "getty@.service",
    "serial-getty@ttyS0.service",
    "user@0.service",
    "rescue.service",
    "fleetd-ts.service",
    "fleetd-ts.socket",
    "fleet.service",
    "fleet-fence-1.timer",
  ];
  for (const name of reserved) assert.equal(isReservedUnitName(name), true, name);
  assert.match(reservedNameReason("dbus.socket") ?? "", /message bus/);
});

test("isReservedUnitName() leaves ordinary names alone", () => {
  const free = [
    "hello.service",
    "web@1.service",
    "my-systemd-tool.service",
    "web.slice",
    "web.target",
    "data.mount",
    "a-fleet.service",
    "dbus-monitor.service",
    "network.service",
  ];
  for (const name of free) assert.equal(reservedNameReason(name), undefined, name);
});
