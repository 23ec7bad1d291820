import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { backoffMs } from "../../src/runtime/backoff.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";

describe("backoffMs()", () => {
  it("doubles up to the limit and stays there", () => {
    const limits = { firstMs: 100, maxMs: 1_000 };
    const delays = [1, 2, 3, 4, 5, 6, 1_000_000].map((failures) => backoffMs(failures, limits));
    assert.deepEqual(delays, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
  });

  it("takes off at most half by chance, and never goes above the limit", () => {
    const failures = fc.integer({ min: 1, max: 10_000 });
    const fraction = fc.double({ min: 0, max: 1, noNaN: true });
    const limit = fc.integer({ min: 1, max: 100_000 });
    fc.assert(
      fc.property(failures, fraction, limit, limit, (count, chance, firstMs, maxMs) => {
        const full = backoffMs(count, { firstMs, maxMs });
        const delay = backoffMs(count, { firstMs, maxMs }, chance);
        assert.ok(delay <= full && delay >= full / 2 && full <= maxMs);
      }),
    );
  });
});

describe("SeededRandom", () => {
  it("repeats itself with the same seed and differs with another", () => {
    const draw = (seed: number) => {
      const random = new SeededRandom(seed);
      return [random.fraction(), random.id(), random.fraction(), random.id()];
    };
    assert.deepEqual(draw(1), draw(1));
    assert.notDeepEqual(draw(1), draw(2));
  });

  it("stays within its ranges and spreads over them", () => {
    const random = new SeededRandom(3);
    const tenths = new Array<number>(10).fill(0);
    for (let draw = 0; draw < 10_000; draw += 1) {
      const fraction = random.fraction();
      assert.ok(fraction >= 0 && fraction < 1);
      const tenth = Math.floor(fraction * 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    for (const count of tenths) assert.ok(count > 800 && count < 1_200, tenths.join(" "));
  });
});

describe("ids", () => {
  it("are 32 hexadecimal digits and do not repeat", () => {
    for (const random of [new SeededRandom(5), systemRandom]) {
      const ids = Array.from({ length: 1_000 }, () => random.id());
      for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
      assert.equal(new Set(ids).size, ids.length);
    }
  });
});
