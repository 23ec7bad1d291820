import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { type CliResult, runCli } from "./run-cli.ts";

/** Nobody listens there: a command that gets so far exits 1 with this. */
const NOWHERE = { FLEETCTL_ENDPOINT: "unix:///nonexistent/fleet.sock" };
const UNREACHABLE =
  /^cannot reach fleetd-ts at unix:\/\/\/nonexistent\/fleet\.sock: there is no such socket/;

type Row = readonly [args: string, exit: number, expected: RegExp];

for (const [args, exit, expected] of [
  ["frobnicate", 2, /unknown command 'frobnicate'/],
  ["strat a", 2, /Did you mean start\?/],
  ["help strat", 2, /^Error: unknown command 'strat'\n\(Did you mean start\?\)\n/],
  ["strat --help", 2, /Did you mean start\?/],
  ["help st", 2, /command "st" is ambiguous: start, stop, status/],
  ["st a", 2, /command "st" is ambiguous: start, stop, status/],
  ["submit", 2, /missing required argument 'unit'/],
  ["list-units --frob", 2, /unknown option '--frob'/],
  ["list-units extra", 2, /too many arguments/],
  ["list-units --fields colour", 2, /Invalid key in output format: "colour"/],
  ["list-units --fields=", 2, /Must define output format/],
  ["list-units -o yaml", 2, /Allowed choices are table, json/],
  ["start --timeout soon a", 2, /It takes a number of seconds/],
  ["ssh --ssh-port 0 a", 2, /It takes a port number/],
  ["start --block-attempts 1.5 a", 2, /It takes a whole number/],
  ["rejoin", 2, /either --keep .* or --discard/],
  ["rejoin --keep --discard", 2, /either --keep .* or --discard/],
  ["cat a b", 2, /too many arguments/],
  ["--endpoint /run/fleet.sock list-units", 2, /URL scheme undefined/],
  ["--endpoint unix://run/fleet.sock list-units", 2, /host "run" with scheme "unix"/],
  ["--tunnel host:port list-units", 2, /expect host or host:port/],
  ["--driver etcd list-units", 2, /there is only the API/],
  ["--ca-file /nonexistent --endpoint https://h:1 list-units", 2, /cannot read the TLS file/],
] as readonly Row[]) {
  test(`fleetctl-ts ${args}: exit ${exit}`, async () => {
    const result = await runCli(args.split(" "));
    assert.equal(result.exit, exit);
    assert.match(result.err, expected);
    assert.equal(result.out, "");
  });
}

for (const args of [
  "list-units",
  "list-unit-f",
  "list-units -l",
  "list-units --l",
  "sto a",
  "--request-timeout 1 star a",
  "--driver API list-machines",
  "start --block-attempts=-1 a",
  "stop a --block-attempts -1",
  "journal -f -n 5 a",
  "journal --f --lines=5 a",
  "list-machines --request-timeout=1 --endpoint unix:///nonexistent/fleet.sock",
]) {
  test(`fleetctl-ts ${args}: understood, exit 1 as the daemon is not running`, async () => {
    const result = await runCli(args.split(" "), NOWHERE);
    assert.equal(result.exit, 1);
    assert.match(result.err, UNREACHABLE);
  });
}

for (const args of ["version", "--version", "-v"]) {
  test(`fleetctl-ts ${args} prints the version, whatever the endpoint`, async () => {
    const result = await runCli([args], { FLEETCTL_ENDPOINT: "nonsense" });
    assert.deepEqual([result.exit, result.err], [0, ""]);
    assert.match(result.out, /^fleetctl-ts version \d+\.\d+\.\d+\n$/);
  });
}

for (const args of [[], ["help"], ["--help"], ["-h"], ["--h"]]) {
  test(`fleetctl-ts ${args.join(" ")}: help with the version and every command, exit 0`, async () => {
    const result = await runCli(args);
    assert.match(result.out, /^fleetctl-ts \d+\.\d+\.\d+ runs /m);
    assert.equal(result.exit, 0);
    for (const { name, hidden } of COMMANDS) {
      assert.equal(result.out.includes(`\n  ${name} `), hidden !== true, name);
    }
  });
}

for (const args of [
  ["help", "star"],
  ["start", "-h"],
  ["star", "--h"],
  ["help", "start", "x"],
]) {
  test(`fleetctl-ts ${args.join(" ")}: the help of start`, async () => {
    const result = await runCli(args);
    assert.deepEqual([result.exit, result.err], [0, ""]);
    assert.match(result.out, /^Usage: fleetctl-ts start /);
  });
}

for (const { name, examples } of COMMANDS) {
  test(`fleetctl-ts ${name} --help has its examples`, async () => {
    const result = await runCli([name, "--help"]);
    assert.equal(result.exit, 0);
    for (const example of examples) assert.ok(result.out.includes(`  fleetctl-ts ${example}\n`));
  });

  test(`the examples of ${name} are understood`, async () => {
    for (const example of examples) {
      // Files that do not exist and a daemon that does not run, but no usage error.
      const [command = ""] = example.split(/ [<>|] /);
      const { err } = await runCli(command.split(" "), NOWHERE);
      assert.doesNotMatch(err, /unknown|missing|too many|choices|It takes|ambiguous/, example);
    }
  });
}

for (const { name, examples, plain } of COMMANDS) {
  if (plain === true) continue;
  test(`${name} takes -o json, --wait and --timeout`, async () => {
    const [words = ""] = examples[0]?.split(/ [<>|] /) ?? [];
    const taken = words.replace(name, `${name} -o json --wait --timeout 9`);
    const { err } = await runCli(taken.split(" "), NOWHERE);
    assert.doesNotMatch(err, /unknown|missing|too many|choices|It takes|ambiguous/, taken);
  });
}

test("every option has a variable", async () => {
  const result = await runCli(["list-units"], { ...NOWHERE, FLEETCTL_FIELDS: "colour" });
  assert.deepEqual([result.exit, /"colour"/.test(result.err)], [2, true]);
});

test("the command line overrides a variable", async () => {
  const result = await runCli(["list-units", "--fields", "unit"], {
    ...NOWHERE,
    FLEETCTL_FIELDS: "colour",
  });
  assert.match(result.err, UNREACHABLE);
});

test("an empty variable counts as unset, a bad one is a usage error that names it", async () => {
  assert.equal((await runCli(["version"], { FLEETCTL_REQUEST_TIMEOUT: "" })).exit, 0);
  const result = await runCli(["list-units"], { FLEETCTL_REQUEST_TIMEOUT: "soon" });
  assert.equal(result.exit, 2);
  assert.match(result.err, /FLEETCTL_REQUEST_TIMEOUT has no valid value: soon/);
});

const SHORT = "12345678...\n";
const LONG = "1234567890abcdef1234567890abcdef\n";

for (const [words, environment, printed] of [
  ["--no-legend", {}, SHORT],
  ["--no-legend=true", {}, SHORT],
  ["--no-legend=false", {}, `MACHINE\n${SHORT}`],
  ["", { FLEETCTL_NO_LEGEND: "true" }, SHORT],
  ["", { FLEETCTL_NO_LEGEND: "0" }, `MACHINE\n${SHORT}`],
  ["--no-legend=false", { FLEETCTL_NO_LEGEND: "1" }, `MACHINE\n${SHORT}`],
  ["--no-legend", { FLEETCTL_FULL: "yes" }, LONG],
  ["--no-legend --full=false", { FLEETCTL_FULL: "yes" }, SHORT],
] as const) {
  const variables = Object.entries(environment).map((pair) => pair.join("="));
  test(`list-machines ${[words, ...variables].join(" ")} prints ${JSON.stringify(printed)}`, async () => {
    const args = ["list-machines", "--fields", "machine", ...words.split(" ").filter(Boolean)];
    assert.deepEqual(await runAgainstOneMachine(args, environment), {
      exit: 0,
      out: printed,
      err: "",
    });
  });
}

test("a switch takes yes and no as variable", async () => {
  const debug = (value: string) => runCli(["version"], { FLEETCTL_DEBUG: value });
  assert.deepEqual([(await debug("true")).exit, (await debug("0")).exit], [0, 0]);
  assert.equal((await debug("perhaps")).exit, 2);
});

/** A cluster of one machine and no units. */
async function runAgainstOneMachine(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<CliResult> {
  const machine = { id: LONG.trim(), present: true, metadata: {}, version: "0.1.0" };
  const server = createServer((_, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ machines: [machine], notices: [] }));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const FLEETCTL_ENDPOINT = `http://127.0.0.1:${address.port}`;
    return await runCli(args, { ...environment, FLEETCTL_ENDPOINT });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
