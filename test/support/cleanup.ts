/** Whatever offers `after(end)`: a test's context, or a `CleanupList`. */
export interface Cleanup {
  after(end: () => Promise<void> | void): void;
}

/**
 * For what lives longer than one test: `after(() => list.run())` at the top of the file. (`after` of node:test called within a `before`
 * hook belongs to that hook and runs at its end.)
 */
export class CleanupList implements Cleanup {
  readonly #ends: (() => Promise<void> | void)[] = [];

  after(end: () => Promise<void> | void): void {
    this.#ends.push(end);
  }

  /** Last in, first out; all of them, whatever fails. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "cleaning up failed");
  }
}
