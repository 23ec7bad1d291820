import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chaos } from "./chaos.ts";
import { TTL_SECONDS } from "./faults.ts";

/** npm run chaos -- [--minutes N] [--seed S] [--keep FOLDER]: real machines under a seeded schedule of faults and commands. Ends with 1 where any harm was done; what the machines' journals say of it is kept then. */
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    keep: { type: "string" },
  },
});
const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
if (!(minutes > 0 && Number.isInteger(seed))) {
  console.error("usage: npm run chaos -- [--minutes N] [--seed S] [--keep FOLDER]");
  process.exit(2);
}
const keepIn = values.keep ?? join(tmpdir(), `fleet-ts-chaos-${seed}-${Date.now()}`);
console.log(`chaos: seed ${seed}, ${minutes} minutes`);
const { violations, summary } = await chaos({
  seed,
  minutes,
  convergeMs: (TTL_SECONDS + 5) * 1_000,
  keepIn,
  say: (line) => console.log(new Date().toISOString().slice(11, 23), line),
});
console.log(`\n${summary.join("\n")}`);
for (const violation of violations) console.log(`VIOLATION ${violation}`);
if (violations.length > 0) {
  console.log(`journals: ${keepIn}`);
  console.log(`repeat: npm run chaos -- --minutes ${minutes} --seed ${seed}`);
  process.exitCode = 1;
} else console.log("no violation");
