import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";

/** A process with a registry open, to be killed: `node embedded-writer.ts hold|write|fill FILE`. Says what it did line by line. */
export const EMBEDDED_WRITER = fileURLToPath(import.meta.url);

/** How many writes are under way at once, so that commits carry several. */
const WRITES_IN_FLIGHT = 8;

/** Not buffered: a line is out before the next write begins. */
function say(...words: readonly (string | number)[]): void {
  writeSync(1, `${words.join(" ")}\n`);
}

async function put(store: EmbeddedStore, key: string, value: string): Promise<number> {
  const operations = [{ type: "put", key, value }] as const;
  return (await store.transact({ comparisons: [], operations })).header.revision;
}

/** Writes for ever; each acknowledged write is said as `wrote KEY REVISION`. */
async function write(store: EmbeddedStore): Promise<void> {
  const run = systemRandom.id();
  let next = 0;
  const writer = async () => {
    for (;;) {
      const key = `${run}/${next++}`;
      say("wrote", key, await put(store, key, `value of ${key} ${"x".repeat(next % 3_000)}`));
    }
  };
  await Promise.all(Array.from({ length: WRITES_IN_FLIGHT }, writer));
}

/** Writes until the disk is full, then once more for each line on its standard input. */
async function fill(store: EmbeddedStore): Promise<void> {
  const value = "x".repeat(100_000);
  const tryPut = async (key: string) => {
    try {
      say("wrote", key, await put(store, key, value));
      return true;
    } catch (error) {
      if (!isFleetError(error)) throw error;
      const { header, items } = await store.read({ range: { key } });
      say("refused", key, error.code, header.revision, items.length);
      return false;
    }
  };
  for (let index = 0; index < 1_000; index += 1) if (!(await tryPut(`fill/${index}`))) break;
  let index = 0;
  for await (const _ of createInterface(process.stdin)) await tryPut(`again/${index++}`);
  await store.close();
}

async function main(mode: string | undefined, file: string | undefined): Promise<void> {
  try {
    const store = openEmbeddedStore({ file, clock: systemClock, random: systemRandom });
    say("open", process.pid);
    if (mode === "write") await write(store);
    else if (mode === "fill") await fill(store);
    else process.stdin.resume();
  } catch (error) {
    if (!isFleetError(error)) throw error;
    say("failed", error.code, error.message);
  }
}

if (import.meta.main) await main(process.argv[2], process.argv[3]);
