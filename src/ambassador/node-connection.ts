import type { CancelTimer, Clock } from "../runtime/clock.ts";
import type { Backend } from "./backend.ts";
import type { BackendTable, Slot } from "./backend-table.ts";
import { Flow, type FlowListener } from "./node-flow.ts";
import type { Connected, Side } from "./node-side.ts";
import type { LinkTuning, RefusalReason } from "./proxy.ts";
import { proxyHeader } from "./proxy-header.ts";

/** While no backend takes a held connection, all are tried again this often; a new set of backends wakes it at once. */
const RETRY_MS = 200;
const NONE_TRIED: ReadonlySet<string> = new Set();

/** What a connection needs of its link. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly table: BackendTable;
  connect(backend: Backend, connected: Connected): Side;
  /** Whether one more may wait. */
  canHold(): boolean;
  heldChanged(by: 1 | -1): void;
  connectFailed(slot: Slot, error: Error): void;
  refused(reason: RefusalReason): void;
  /** Nothing is left of it. */
  ended(connection: NodeConnection): void;
}

/**
 * One accepted connection: looks for a backend while the client waits unread, then carries bytes both ways until both have said
 * everything, or one breaks: then the other is reset too, so that nobody takes a broken stream for a finished one.
 */
export class NodeConnection implements FlowListener {
  readonly #host: ConnectionHost;
  readonly #tuning: LinkTuning;
  readonly #client: Side;
  readonly #untilMs: number;
  #backend: Side | undefined;
  /** Counted as open there. */
  #slot: Slot | undefined;
  #tried: Set<string> | undefined;
  #cancelTimer: CancelTimer | undefined;
  #isHeld = false;
  #isSilent = false;
  #isOver = false;

  constructor(host: ConnectionHost, tuning: LinkTuning, client: Side) {
    this.#host = host;
    this.#tuning = tuning;
    this.#client = client;
    this.#untilMs = host.clock.monotonicMs() + tuning.holdMs;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Looks for a backend, from the first again. */
  start(): void {
    this.#cancelTimer?.();
    this.#setHeld(false);
    this.#tried = undefined;
    this.#attempt();
  }

  /** Of a peer that says nothing for long the kernel finds out whether it is still there. */
  probe(): void {
    if (this.#isSilent) return;
    this.#isSilent = true;
    for (const side of [this.#client, this.#backend]) side?.keepAlive();
  }

  /** Both sides see a reset. */
  cut(): void {
    this.#end("reset");
  }

  finished(): void {
    this.#end("close");
  }

  broke(side: Side): void {
    if (side === this.#backend && this.#slot !== undefined) this.#slot.errors += 1;
    this.cut();
  }

  #attempt(): void {
    const isFirst = this.#tried === undefined;
    const isLast = (this.#tried?.size ?? 0) >= this.#tuning.attemptsMax;
    const slot = isLast ? undefined : this.#host.table.acquire(this.#tried ?? NONE_TRIED);
    if (slot === undefined) this.#hold(isFirst ? "no-backend" : "connect-failed");
    else this.#connect(slot);
  }

  #hold(reason: RefusalReason): void {
    const leftMs = this.#untilMs - this.#host.clock.monotonicMs();
    const isFull = leftMs > 0 && !this.#host.canHold();
    if (leftMs <= 0 || isFull) {
      this.#host.refused(isFull ? "too-many-held" : reason);
      this.cut();
      return;
    }
    this.#setHeld(true);
    this.#cancelTimer = this.#host.clock.setTimer(Math.min(RETRY_MS, leftMs), () => this.start());
  }

  #setHeld(isHeld: boolean): void {
    if (isHeld !== this.#isHeld) this.#host.heldChanged(isHeld ? 1 : -1);
    this.#isHeld = isHeld;
  }

  #connect(slot: Slot): void {
    const { clock, table } = this.#host;
    const { connectTimeoutMs } = this.#tuning;
    const began = clock.monotonicMs();
    const failed = (error: Error) => {
      this.#backend?.close();
      this.#backend = undefined;
      this.#slot = undefined;
      this.#host.connectFailed(slot, error);
      table.release(slot);
      this.#tried ??= new Set();
      this.#tried.add(slot.backend.id);
      this.#attempt();
    };
    this.#slot = slot;
    const backend = this.#host.connect(slot.backend, (error) => {
      this.#cancelTimer?.();
      if (error !== undefined) return failed(error);
      table.connected(slot, clock.monotonicMs() - began);
      this.#join(slot, backend);
    });
    this.#backend = backend;
    this.#cancelTimer = clock.setTimer(connectTimeoutMs, () => {
      failed(new Error(`no connection within ${connectTimeoutMs} ms`));
    });
  }

  #join(slot: Slot, backend: Side): void {
    const client = this.#client;
    const countUp = (bytes: number) => {
      slot.bytesToBackend += bytes;
    };
    const countDown = (bytes: number) => {
      slot.bytesToClient += bytes;
    };
    if (this.#tuning.proxyProtocol) backend.write(proxyHeader(client.ends));
    Flow.start(
      new Flow([client, backend], countUp, this),
      new Flow([backend, client], countDown, this),
    );
  }

  #end(how: "close" | "reset"): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimer?.();
    this.#setHeld(false);
    for (const side of [this.#client, this.#backend]) side?.[how]();
    if (this.#slot !== undefined) this.#host.table.release(this.#slot);
    this.#host.ended(this);
  }
}
