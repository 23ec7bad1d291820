// npm run bench -- NAME [--json] [--rounds N] [--seconds N] [--seed N]
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SeededRandom } from "../src/runtime/seeded-random.ts";
import { type Bench, type Sample, summarize, table } from "./harness.ts";

const SUFFIX = ".bench.ts";

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string" },
      seed: { type: "string", default: "1" },
    },
  });
  const [name, ...rest] = positionals;
  if (name === undefined || rest.length > 0 || !existsSync(fileOf(name))) {
    console.error(`usage: npm run bench -- NAME [--json] [--rounds N] [--seconds N] [--seed N]\n`);
    for (const known of benchNames())
      console.error(`  ${known.padEnd(12)}${(await load(known)).about}`);
    return 2;
  }
  // Measured is what is deployed: stripping types takes 20 MB of every process.
  execFileSync("npm", ["run", "-s", "build"], { stdio: "inherit" });
  process.env["LAB_DAEMON"] = "/opt/app/dist/fleetd-ts.cjs";
  process.env["LAB_CLIENT"] = resolve("dist/fleetctl-ts.cjs");
  const bench = await load(name);
  const samples: Sample[] = [];
  const beganMs = performance.now();
  await bench.run({
    rounds: wholeNumber(values.rounds, "--rounds"),
    seconds: values.seconds === undefined ? undefined : wholeNumber(values.seconds, "--seconds"),
    random: new SeededRandom(wholeNumber(values.seed, "--seed")),
    record: (sample) => samples.push(sample),
    note: (text) => console.error(`${seconds(beganMs).padStart(6)} s  ${text}`),
  });
  const results = summarize(samples);
  if (values.json) {
    console.log(JSON.stringify({ bench: name, commit: commit(), machine: machine(), results }));
  } else {
    console.log(`${name} at ${commit()} on ${machine()}\n\n${table(results, bench.references)}`);
  }
  return 0;
}

function fileOf(name: string): string {
  return `${import.meta.dirname}/${name}${SUFFIX}`;
}

function benchNames(): readonly string[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();
}

async function load(name: string): Promise<Bench> {
  return ((await import(fileOf(name))) as { readonly bench: Bench }).bench;
}

function wholeNumber(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${option} wants a number from 1`);
  return value;
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(1);
}

/** `-dirty`: with changes that are not committed. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" }).trim();
  return git("describe", "--always", "--dirty", "--exclude=*");
}

function machine(): string {
  const model = cpus()[0]?.model.trim() || "unknown processor";
  const memory = `${Math.round(totalmem() / 2 ** 30)} GB`;
  return `${cpus().length} x ${model}, ${memory}, Linux ${release()}, Node ${process.version}`;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
