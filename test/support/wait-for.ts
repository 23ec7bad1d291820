import { inspect } from "node:util";

export interface Wait<T> {
  /** What is waited for, as it reads after "timed out waiting until". */
  readonly what: string;
  /** Generous: it ends a hopeless wait, it judges no speed. */
  readonly deadlineMs: number;
  readonly everyMs?: number;
  /** May throw: then it looks again. */
  readonly look: () => T | Promise<T>;
  readonly until: (seen: T) => boolean;
  /** Added to the error: logs, for example. */
  readonly explain?: () => string | Promise<string>;
}

/** WAIT_TIMES=1 says how long each wait took: the times in docs/reliability.md. */
const SAYS_TIMES = process.env["WAIT_TIMES"] === "1";

/** Looks until `until` holds and gives what it saw then. The error of a wait that ends says what was seen last. */
export async function waitFor<T>(wait: Wait<T>): Promise<T> {
  const beganMs = performance.now();
  const endMs = beganMs + wait.deadlineMs;
  let last = "nothing";
  do {
    try {
      const seen = await wait.look();
      if (wait.until(seen)) {
        if (SAYS_TIMES) {
          console.error(
            `waited ${((performance.now() - beganMs) / 1_000).toFixed(2)} s until ${wait.what}`,
          );
        }
        return seen;
      }
      last = typeof seen === "string" ? seen : inspect(seen, { depth: 6, breakLength: 100 });
    } catch (error) {
      last = String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, wait.everyMs ?? 100));
  } while (performance.now() < endMs);
  const more = wait.explain === undefined ? "" : `\n${await wait.explain()}`;
  throw new Error(
    `timed out after ${wait.deadlineMs} ms waiting until ${wait.what}; last seen: ${last}${more}`,
  );
}
