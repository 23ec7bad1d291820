interface Expected {
  readonly clusterId: string;
  readonly storeId: string;
}

/** Runs the engine candidate while the machine is in a cluster. */
export class EngineSwitch {
  readonly #run: (expected: Expected, signal: AbortSignal) => Promise<void>;
  #running:
    | { readonly expected: Expected; readonly abort: () => void; readonly ended: Promise<void> }
    | undefined;
  #crash: (error: unknown) => void = () => undefined;
  /** Never resolves; rejects when an engine ends with a failure that is not its abort. */
  readonly crashed: Promise<never>;

  constructor(run: (expected: Expected, signal: AbortSignal) => Promise<void>) {
    this.#run = run;
    this.crashed = new Promise((_, reject) => {
      this.#crash = reject;
    });
    this.crashed.catch(() => undefined);
  }

  on({ clusterId, storeId }: Expected): void {
    const now = this.#running?.expected;
    if (now?.clusterId === clusterId && now.storeId === storeId) return;
    this.off();
    const controller = new AbortController();
    const expected = { clusterId, storeId };
    const ended = this.#run(expected, controller.signal).catch((error: unknown) => {
      if (!controller.signal.aborted) this.#crash(error);
    });
    this.#running = { expected, abort: () => controller.abort(), ended };
  }

  off(): void {
    this.#running?.abort();
    this.#running = undefined;
  }

  /** Ends the engine and waits until it has given the lead away. */
  async stop(): Promise<void> {
    const running = this.#running;
    this.off();
    await running?.ended;
  }
}
