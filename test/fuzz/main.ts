import { parseArgs } from "node:util";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { systemClock as clock } from "../../src/runtime/system-clock.ts";
import { machineUnitFiles } from "../support/unit-files.ts";
import { exampleFiles } from "./example-files.ts";
import { checkInput, inputText, makeInput } from "./fuzz-units.ts";

/**
 * npm run fuzz -- [--seconds N] [--seed S]: reads unit files with mistakes in them until time is up. Ends with status 1 at the first
 * exception that is not the parser's own, with the input and how to see it again.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
  },
});
/** An input is some kilobytes; what takes so long grows with more than its size. */
const INPUT_MAX_MS = 2000;
const corpus = [...exampleFiles(), ...machineUnitFiles().map(({ bytes }) => bytes)];
const seed = Number(values.seed);
const endMs = clock.monotonicMs() + Number(values.seconds) * 1000;
console.log(`fuzz: seed ${seed}, ${values.seconds} s, ${corpus.length} files to begin with`);
let runs = 0;
for (; clock.monotonicMs() < endMs; runs += 1) {
  const input = makeInput(corpus, new SeededRandom(seed + runs));
  const beganMs = clock.monotonicMs();
  try {
    checkInput(input);
    if (clock.monotonicMs() - beganMs > INPUT_MAX_MS) throw new Error("it took too long");
  } catch (error) {
    console.error(`FAILED after ${runs} inputs:`, error, `\n${inputText(input)}`);
    console.error(`again: npm run fuzz -- --seconds 1 --seed ${seed + runs}`);
    process.exit(1);
  }
}
console.log(`fuzz: ${runs} inputs, nothing but UnitFileError`);
