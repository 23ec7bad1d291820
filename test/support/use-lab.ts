import assert from "node:assert/strict";
import { after, afterEach, before, type TestContext } from "node:test";
import { Lab, type LabOptions } from "./lab.ts";

/** One lab for the tests of a file (or describe): opened before, closed after, its logs shown with a test that failed. */
export function useLab(options: LabOptions = {}): { readonly lab: Lab } {
  let lab: Lab | undefined;
  before(async () => {
    lab = await Lab.open(options);
  });
  afterEach(async (context) => {
    const failed = (context as TestContext).passed === false;
    if (failed && lab !== undefined) console.error(await lab.logs());
  });
  after(async () => {
    await lab?.close();
  });
  return {
    get lab() {
      assert(lab !== undefined, "the lab is open only while tests run");
      return lab;
    },
  };
}
