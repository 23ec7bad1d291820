import { FleetError } from "../runtime/errors.ts";
import type { Bus, DbusCall } from "./dbus-bus.ts";

/** In flight all at once too: dbus-daemon lets a connection await 128 replies. */
const CALLS_PER_CONNECTION = 100;

interface Line {
  readonly bus: Promise<Bus>;
  /** The connection is gone. */
  readonly over: Promise<void>;
  calls: number;
  unanswered: number;
}

export interface JobCallsOptions {
  /** `awaited`: how many answers are. */
  readonly open: (about: { awaited: () => number; onClose: () => void }) => Promise<Bus>;
}

/**
 * Calls that make jobs, over connections of their own that are given up one after the other. For as long as a job lasts systemd watches whether
 * the connection that asked for it is there, with a match rule for each job; dbus-daemon allows it 512, and at the first that is refused systemd takes its
 * connection to the bus for broken and drops it, with all that was in flight. A connection that has ended takes its rules along, and the jobs go on.
 */
export class JobCalls {
  readonly #options: JobCallsOptions;
  #line: Line | undefined;
  #closed = false;

  constructor(options: JobCallsOptions) {
    this.#options = options;
  }

  async call(call: DbusCall): Promise<unknown> {
    // The next connection is opened when the one before is gone, so that the rules of two at most are there.
    while (this.#line !== undefined && this.#line.calls >= CALLS_PER_CONNECTION)
      await this.#line.over;
    call.signal?.throwIfAborted();
    if (this.#closed)
      throw new FleetError("systemd-unavailable", "the connection to systemd is closed");
    this.#line ??= this.#newLine();
    const line = this.#line;
    line.calls += 1;
    line.unanswered += 1;
    try {
      const bus = await line.bus;
      return await bus.call(call);
    } finally {
      line.unanswered -= 1;
      if (line.calls >= CALLS_PER_CONNECTION && line.unanswered === 0) give(line);
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#line !== undefined) give(this.#line);
  }

  #newLine(): Line {
    const over = Promise.withResolvers<void>();
    const end = () => {
      if (this.#line === line) this.#line = undefined;
      over.resolve();
    };
    // At least one: nothing but answers comes over it.
    const awaited = () => Math.max(1, line.unanswered);
    const bus = this.#options.open({ awaited, onClose: end });
    bus.catch(end);
    const line: Line = { bus, over: over.promise, calls: 0, unanswered: 0 };
    return line;
  }
}

function give(line: Line): void {
  line.bus.then(
    (bus) => bus.destroy(),
    () => undefined,
  );
}
