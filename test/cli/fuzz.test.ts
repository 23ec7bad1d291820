import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { COMMANDS } from "../../src/cli/commands.ts";
import { commonOptions, GLOBAL_OPTIONS, type OptionSpec } from "../../src/cli/options.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { codePoint } from "../support/code-point.ts";
import { quick } from "../support/quick.ts";
import { PlayedCluster } from "./played-cluster.ts";

/** Run by others, wait for ever, or act on this machine. */
const LEFT_OUT = new Set(["ssh", "events", "sync", "fd-forward", "register", "rejoin"]);
const EXITS = [0, 1, 2, 3, 4];
const COMMAND_MS = 15_000;

let cluster: PlayedCluster;
before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
});
after(() => cluster.close());

const junk = fc.oneof(
  fc.string(),
  fc.constantFrom(
    ...[
      "",
      "-",
      "--",
      "-1",
      "0",
      "1e9",
      "NaN",
      "999999999999999999999",
      "a\nb",
      "\u0000",
      "../..",
      "*",
      "[",
    ],
    ...[
      "{1..3}",
      "web@",
      "@",
      ".service",
      "a.service@b",
      "%n",
      "'",
      "-o",
      "--=",
      "=",
      "unit",
      "json",
    ],
  ),
  fc.string({ unit: codePoint, maxLength: 300 }),
);

/** Values that an option takes, and others. */
function optionValue({ choices, value }: OptionSpec): fc.Arbitrary<string> {
  const right = choices !== undefined ? fc.constantFrom(...choices) : fc.nat(9).map(String);
  return value === undefined && choices === undefined ? junk : fc.oneof(right, junk);
}

/** The option as people may write it: with its value, in one word, short, or wrong. */
function optionWords(option: OptionSpec): fc.Arbitrary<readonly string[]> {
  const names = option.flags
    .replace(/[<[].*$/, "")
    .split(",")
    .map((name) => name.trim());
  const name = fc.constantFrom(...names);
  if (!option.flags.includes("<")) {
    return fc.oneof(
      name.map((one) => [one]),
      fc.tuple(name, junk).map(([one, text]) => [`${one}=${text}`]),
    );
  }
  return fc
    .tuple(name, optionValue(option), fc.boolean())
    .map(([one, text, together]) => (together ? [`${one}=${text}`] : [one, text]));
}

const commandLine = fc
  .constantFrom(...COMMANDS.filter(({ name }) => !LEFT_OUT.has(name)))
  .chain((spec) => {
    const harmless = (option: OptionSpec) =>
      !/follow|tunnel|endpoint|request-timeout|--watch|ssh/.test(option.flags);
    const options = [...GLOBAL_OPTIONS, ...(spec.options ?? []), ...commonOptions(spec)].filter(
      harmless,
    );
    const word = fc.oneof(
      fc.constantFrom(...options).chain(optionWords),
      junk.map((text) => [text]),
    );
    return fc.array(word, { maxLength: 5 }).map((words) => [spec.name, ...words.flat()]);
  })
  // Following and watching go on for ever.
  .filter((words) => !words.some((word) => /^-[a-zA-Z]*f|^--f|^-w|^--w/.test(word)));

test("any options and arguments end with a documented exit status, in time, without a stack and never silently", async () => {
  await fc.assert(
    fc.asyncProperty(commandLine, async (words) => {
      const late = Promise.withResolvers<undefined>();
      const cancel = systemClock.setTimer(COMMAND_MS, () => late.resolve(undefined));
      const result = await Promise.race([cluster.run(...words, "--timeout=1"), late.promise]);
      cancel();
      assert.ok(result !== undefined, "it hangs");
      assert.ok(EXITS.includes(result.exit), `exit ${result.exit}`);
      assert.doesNotMatch(result.err, /^ {4}at |AssertionError|TypeError|undefined:/m);
      if (result.exit !== 0)
        assert.notEqual((result.err + result.out).trim(), "", "it says nothing");
    }),
    { numRuns: quick(300), seed: 1 },
  );
});
