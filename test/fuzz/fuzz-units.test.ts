import { test } from "node:test";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { quick } from "../support/quick.ts";
import { exampleFiles } from "./example-files.ts";
import { checkInput, inputText, makeInput } from "./fuzz-units.ts";

test("unit files with mistakes in them are read or refused, and nothing else is thrown", () => {
  const corpus = exampleFiles();
  for (let seed = 1; seed <= quick(2000); seed += 1) {
    const input = makeInput(corpus, new SeededRandom(seed));
    try {
      checkInput(input);
    } catch (error) {
      throw new Error(`seed ${seed}: ${inputText(input)}`, { cause: error });
    }
  }
});
