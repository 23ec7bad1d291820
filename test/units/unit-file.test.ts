import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  decodeUnitText,
  LINE_BYTES_MAX,
  optionValues,
  PROBLEMS_MAX,
  parseUnitFile,
  printUnitFile,
  scanUnitFile,
} from "../../src/units/unit-file.ts";
import { UnitFileError } from "../../src/units/unit-problem.ts";
import { codePoint } from "../support/code-point.ts";

const FILE = "a.service";

/** `section.name=value` per option. */
function optionsOf(text: string): readonly string[] {
  return parseUnitFile(text, FILE).options.map((o) => `${o.section}.${o.name}=${o.value}`);
}

/** `line:column: message` per problem. */
function problemsOf(text: string): readonly string[] {
  return scanUnitFile(text, FILE).problems.map((p) => `${p.line}:${p.column}: ${p.message}`);
}

/** Text made of what matters to the parser, so that random texts reach its corners. */
const unitText = fc
  .array(
    fc.oneof(
      fc.constantFrom("[Unit]", "[Service]", "[", "]", "=", "#", ";", "\\", "\n", "\r", "\r\n"),
      fc.constantFrom(" ", "\t", "A=1\n", "B = x \\\n", "\ufeff", "\0", '"', "ö", "\u00a0"),
      fc.string({ unit: codePoint, maxLength: 5 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(""));

const anyText = fc.oneof(unitText, fc.string({ unit: codePoint }));

const READ: Readonly<Record<string, readonly [text: string, options: readonly string[]]>> = {
  "nothing in an empty file": ["", []],
  "sections, comments and several values of one name": [
    '\n[Unit]\n;ignore this guy\nDescription = Foo\n\n[Service]\nExecStart=echo "ping";\nExecStop=echo "pong"\n' +
      "# ignore me, too\nExecStop=echo post\n\n[X-Fleet]\nMachineMetadata=foo=bar\nMachineMetadata=baz=qux\n",
    [
      "Unit.Description=Foo",
      'Service.ExecStart=echo "ping";',
      'Service.ExecStop=echo "pong"',
      "Service.ExecStop=echo post",
      "X-Fleet.MachineMetadata=foo=bar",
      "X-Fleet.MachineMetadata=baz=qux",
    ],
  ],
  "odd names": [
    "[Service]\nExecStart=jim\n# c\n<<<<<<=bar\n",
    ["Service.ExecStart=jim", "Service.<<<<<<=bar"],
  ],
  "continued lines, with a space for the backslash": [
    '[Service]\nExecStart=echo \\\n  "pi\\\n  ng"\nExecStop=\\\necho "po\\\nng"\n',
    ['Service.ExecStart=echo    "pi   ng"', 'Service.ExecStop=echo "po ng"'],
  ],
  "comments between continued lines": [
    "[S]\nA=echo\\\n#pang\n ; peng \\\n  pung\nB=1",
    ["S.A=echo   pung", "S.B=1"],
  ],
  "a comment that ends in a backslash as one line": ["[S]\n# c \\\nA=1\nB=2\n", ["S.A=1", "S.B=2"]],
  "a blank line as the end of a continuation": ["[S]\nA=1 \\\n\nB=2\n", ["S.A=1", "S.B=2"]],
  "the end of the file as the end of a continuation": ["[S]\nA=1 \\\n", ["S.A=1"]],
  "a backslash at the very end": ["[S]\nA=1 \\", ["S.A=1"]],
  "two backslashes at the end of a line as two backslashes": [
    "[S]\nA=1\\\\\nB=2",
    ["S.A=1\\\\", "S.B=2"],
  ],
  "a header and a name over several lines": ["[Un\\\nit]\nNa\\\nme=1\n", ["Un it.Na me=1"]],
  "line ends of every kind": ["[S]\r\nA=1\rB=2\n\rC=3 \\\r\n 4", ["S.A=1", "S.B=2", "S.C=3   4"]],
  "a byte order mark at the start": ["\ufeff[S]\nA=1", ["S.A=1"]],
  "a comment behind a byte order mark": ["\ufeff# c\n[S]\nA=1", ["S.A=1"]],
  "blanks around everything": ["  [S]  \n\tA\t = \t1 2 \n", ["S.A=1 2"]],
  "white space that is none to systemd as part of the value": [
    "[S]\nA=\u00a01\v\n",
    ["S.A=\u00a01\v"],
  ],
  "empty values": ["[S]\nA=\nA=1\nA=", ["S.A=", "S.A=1", "S.A="]],
  "later equals signs as part of the value": ["[S]\nA=b=c=d", ["S.A=b=c=d"]],
  "a hash behind a value as part of it": ["[S]\nA=1 # no comment", ["S.A=1 # no comment"]],
  "unusual section names": [
    "[ S ]\nA=1\n[]\nB=2\n[a]b]\nC=3\n[Ser#vice]\nD=4",
    [" S .A=1", ".B=2", "a]b.C=3", "Ser#vice.D=4"],
  ],
  "repeated sections in the order of the file": [
    "[A]\nx=1\n[B]\ny=2\n[A]\nz=3",
    ["A.x=1", "B.y=2", "A.z=3"],
  ],
};

for (const [what, [text, options]] of Object.entries(READ)) {
  test(`parseUnitFile() reads ${what}`, () => {
    assert.deepEqual(optionsOf(text), options);
  });
}

const REFUSED: Readonly<Record<string, readonly [text: string, problem: string]>> = {
  "text before the first section": ["Echo", '1:1: missing "=" in "Echo"'],
  "an assignment before the first section": [
    "\n A=1\n[S]\n",
    '2:2: "A=1" is outside of any section',
  ],
  "a line without equals sign": ["[S]\nA=1\n<<<<\nB=2", '3:1: missing "=" in "<<<<"'],
  "a line without name": ["[S]\n =1", '2:2: missing option name before "=1"'],
  "a header without end": ["[S\nA=1", '1:1: section header "[S" does not end in "]"'],
  "text behind a header": ["[S] junk\nA=1", '1:1: section header "[S] junk" does not end in "]"'],
  "a comment behind a header": ["[S] # x\n", '1:1: section header "[S] # x" does not end in "]"'],
  "a backslash with a blank behind it, which continues nothing": [
    "[S]\nA=1 \\ \n  2\n",
    '3:3: missing "=" in "2"',
  ],
  "a mistake in continued lines, at the first of them": [
    "[S]\n\nfoo \\\n# c\n bar\n",
    '3:1: missing "=" in "foo   bar"',
  ],
  "a byte order mark further on": ["[S]\n\ufeffA=1", "2:1: byte order mark inside the file"],
  "a second byte order mark": ["\ufeff[S]\n\ufeffA=1", "2:1: byte order mark inside the file"],
  "a comment behind a byte order mark that systemd would continue": [
    "\ufeff# c \\\n[S]\nA=1",
    "1:6: a comment behind a byte order mark cannot end in a backslash",
  ],
  "a zero byte": ["[S]\r\nA=1\0B=2", "2:4: character U+0000 cannot be in a unit file"],
  "half of a surrogate pair": ["[S]\nA=\ud800", "2:3: character U+D800 cannot be in a unit file"],
  "a code point that is no character": [
    "[S]\nA=\ufffe",
    "2:3: character U+FFFE cannot be in a unit file",
  ],
};

for (const [what, [text, problem]] of Object.entries(REFUSED)) {
  test(`scanUnitFile() finds ${what}`, () => {
    assert.deepEqual(problemsOf(text), [problem]);
  });
}

test("scanUnitFile() takes lines up to systemd's limit", () => {
  const line = `A=${"x".repeat(LINE_BYTES_MAX - 3)}`;
  assert.deepEqual(problemsOf(`[S]\n${line}\n`), []);
  assert.deepEqual(problemsOf(`[S]\n${line}x\n`), ["2:1: the line is longer than 1048575 bytes"]);
  const half = `${"ö".repeat(LINE_BYTES_MAX / 4)}`;
  assert.deepEqual(problemsOf(`[S]\nA=${half}\\\n${half}`), [
    "2:1: the line is longer than 1048575 bytes",
  ]);
});

test("scanUnitFile() stops after some problems and keeps them in order", () => {
  const problems = scanUnitFile("x\n".repeat(1000), FILE).problems;
  assert.equal(problems.length, PROBLEMS_MAX);
  assert.deepEqual(
    problems.map(({ line }) => line),
    Array.from({ length: PROBLEMS_MAX }, (_, index) => index + 1),
  );
});

test("parseUnitFile() throws an error that says where", () => {
  assert.throws(
    () => parseUnitFile("[S]\nA=1\n  oops\nagain\n", "web.service"),
    (error) =>
      error instanceof UnitFileError &&
      error.code === "unit-invalid" &&
      error.message === 'web.service:3:3: missing "=" in "oops"' &&
      error.file === "web.service" &&
      error.line === 3 &&
      error.column === 3 &&
      error.problems.length === 2,
  );
});

test("parseUnitFile() says on which line each option begins", () => {
  const text = "# c\r\n[S]\rA=1\n\n\nB=2 \\\n  3\n# c\nC=4";
  assert.deepEqual(
    parseUnitFile(text, FILE).options.map(({ name, line }) => [name, line]),
    [
      ["A", 3],
      ["B", 6],
      ["C", 9],
    ],
  );
});

test("any text is read or refused with a line, and nothing else is thrown", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const lines = text.split(/\r\n|\n\r|\n|\r/).length;
      try {
        parseUnitFile(text, FILE);
      } catch (error) {
        assert(error instanceof UnitFileError);
        assert(
          (error.line ?? 0) >= 1 && (error.line ?? 0) <= lines,
          `line ${error.line} of ${lines}`,
        );
        assert((error.column ?? 0) >= 1);
      }
    }),
    { numRuns: 3000, seed: 1 },
  );
});

test("bytes come back as they were: decode, parse, print, encode", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      fc.pre(text.isWellFormed());
      const bytes = Buffer.from(text, "utf8");
      const { unitFile } = scanUnitFile(decodeUnitText(bytes, FILE), FILE);
      assert(Buffer.from(printUnitFile(unitFile), "utf8").equals(bytes));
    }),
    { numRuns: 1000, seed: 1 },
  );
});

test("every option read is in the text where it says it is", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const { options } = scanUnitFile(text, FILE).unitFile;
      const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n\r|\n|\r/);
      for (const { name, line } of options) {
        const rest = lines.slice(line - 1).join("\n");
        // A name itself may be continued: then only its first part is on that line.
        const firstWord = name.split(" ")[0] ?? "";
        assert(rest.includes(firstWord), `${JSON.stringify(name)} at line ${line}`);
      }
    }),
    { numRuns: 1000, seed: 1 },
  );
});

test("reading what the options say gives the same options", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const scanned = scanUnitFile(text, FILE);
      fc.pre(scanned.problems.length === 0);
      const { options } = scanned.unitFile;
      // The blanks: a byte order mark is part of a name only where it is not the first of its line, and a backslash of a
      // value only where it is not the last.
      const plain = options.map((o) => `[${o.section}]\n ${o.name}=${o.value} \n`).join("");
      const values = (o: (typeof options)[number]) => [o.section, o.name, o.value];
      assert.deepEqual(parseUnitFile(plain, FILE).options.map(values), options.map(values));
    }),
    { numRuns: 3000, seed: 1 },
  );
});

test("decodeUnitText() refuses bytes that are not UTF-8, with the line", () => {
  const bytes = Buffer.concat([
    Buffer.from("[S]\n# \ufffd is fine\nA="),
    Buffer.from([0xff, 0x0a]),
  ]);
  assert.throws(
    () => decodeUnitText(bytes, "web.service"),
    (error) =>
      error instanceof UnitFileError &&
      error.message === "web.service:3: the line is not UTF-8 text",
  );
});

test("optionValues() brings repeated sections together and resets at an empty assignment", () => {
  const { options } = parseUnitFile("[A]\nx=1\n[B]\nx=2\n[A]\nx=3\ny=\nx=\nx=4\nx=5\n", FILE);
  assert.deepEqual(optionValues(options, { section: "A", name: "x" }), ["4", "5"]);
  assert.deepEqual(optionValues(options, { section: "B", name: "x" }), ["2"]);
  assert.deepEqual(optionValues(options, { section: "A", name: "y" }), []);
  assert.deepEqual(optionValues(options, { section: "a", name: "x" }), []);
});
