import { connect, type Socket } from "node:net";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import type { BackendTable, Slot } from "./backend-table.ts";
import { Flow } from "./node-flow.ts";
import { ReadBuffer, readInto } from "./node-read-buffer.ts";
import type { LinkTuning, RefusalReason } from "./proxy.ts";
import { proxyHeader } from "./proxy-header.ts";

/** While no backend takes a held connection, all are tried again this often; a new set of backends wakes it at once. */
const RETRY_MS = 200;
const NONE_TRIED: ReadonlySet<string> = new Set();

/** What a connection needs of its link. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly table: BackendTable;
  readonly spareBuffers: Buffer[];
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
export class NodeConnection {
  readonly #host: ConnectionHost;
  readonly #tuning: LinkTuning;
  readonly #client: Socket;
  readonly #untilMs: number;
  #backend: Socket | undefined;
  #slot: Slot | undefined;
  #flows: readonly [Flow, Flow] | undefined;
  #tried: Set<string> | undefined;
  #openSockets = 1;
  #cancelTimer: CancelTimer | undefined;
  #isHeld = false;
  #isSilent = false;

  /** `client` has not been read from. */
  constructor(host: ConnectionHost, tuning: LinkTuning, client: Socket) {
    this.#host = host;
    this.#tuning = tuning;
    this.#client = client;
    this.#untilMs = host.clock.monotonicMs() + tuning.holdMs;
    client.on("error", () => this.cut());
    client.on("close", () => this.#closed());
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

  /** The kernel finds out whether a peer that says nothing for long is still there. */
  probe(): void {
    if (this.#isSilent) return;
    this.#isSilent = true;
    for (const socket of [this.#client, this.#backend]) socket?.setKeepAlive(true, 30_000);
  }

  /** Both sides see a reset. */
  cut(): void {
    this.#cancelTimer?.();
    this.#setHeld(false);
    for (const socket of [this.#client, this.#backend]) if (socket !== undefined) reset(socket);
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
    const { clock, spareBuffers } = this.#host;
    const began = clock.monotonicMs();
    const { bufferBytes } = this.#tuning;
    const down = new Flow(new ReadBuffer(spareBuffers, bufferBytes), (bytes) => {
      slot.bytesToClient += bytes;
    });
    const { host, port } = slot.backend;
    const backend = connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      onread: down.onread,
    });
    const failed = (error: Error) => {
      this.#cancelTimer?.();
      this.#backend = undefined;
      backend.destroy();
      this.#host.connectFailed(slot, error);
      this.#host.table.release(slot);
      if (this.#client.destroyed) return;
      this.#tried ??= new Set();
      this.#tried.add(slot.backend.id);
      this.#attempt();
    };
    this.#backend = backend;
    const { connectTimeoutMs } = this.#tuning;
    this.#cancelTimer = clock.setTimer(connectTimeoutMs, () => {
      backend.destroy(new Error(`no connection within ${connectTimeoutMs} ms`));
    });
    backend.once("error", failed);
    backend.on("connect", () => {
      this.#cancelTimer?.();
      backend.off("error", failed);
      this.#host.table.connected(slot, clock.monotonicMs() - began);
      this.#join({ backend, slot, down });
    });
    // Ours, by cut(): not the backend's failure.
    backend.on("close", (hadError) => {
      if (this.#slot === slot) this.#closed();
      else if (!hadError && this.#backend === backend) this.#host.table.release(slot);
    });
  }

  #join(joint: { readonly backend: Socket; readonly slot: Slot; readonly down: Flow }): void {
    const { backend, slot, down } = joint;
    const client = this.#client;
    this.#slot = slot;
    this.#openSockets += 1;
    const buffer = new ReadBuffer(this.#host.spareBuffers, this.#tuning.bufferBytes);
    const up = new Flow(buffer, (bytes) => {
      slot.bytesToBackend += bytes;
    });
    this.#flows = [up, down];
    up.join(client, backend);
    down.join(backend, client);
    backend.on("error", () => {
      slot.errors += 1;
      this.cut();
    });
    backend.on("end", () => this.#ended(down, client));
    client.on("end", () => this.#ended(up, backend));
    if (this.#tuning.proxyProtocol) backend.write(proxyHeader(endsOf(client)));
    readInto(client, up.onread);
  }

  #ended(flow: Flow, sink: Socket): void {
    flow.hasEnded = true;
    if (this.#flows?.every((each) => each.hasEnded && each.isFlushed)) {
      // Closing says the second goodbye too: one call less to the kernel for each short connection.
      this.#client.destroy();
      this.#backend?.destroy();
    } else sink.end();
  }

  #closed(): void {
    this.#openSockets -= 1;
    if (this.#openSockets > 0) {
      // One side vanished without a goodbye of the other: nothing more can come of it.
      if (this.#slot !== undefined && this.#client.destroyed !== this.#backend?.destroyed)
        this.cut();
      else if (this.#slot === undefined) this.#backend?.destroy();
      return;
    }
    this.#cancelTimer?.();
    this.#setHeld(false);
    if (this.#slot === undefined) this.#backend?.destroy();
    else this.#host.table.release(this.#slot);
    for (const flow of this.#flows ?? []) flow.close();
    this.#host.ended(this);
  }
}

/** The peer sees a broken stream, not a finished one. Only TCP can; and not once the goodbye is on its way: libuv refuses, and closes nothing. */
export function reset(socket: Socket): void {
  if (socket.destroyed) return;
  const saidGoodbye = socket.writableEnded && socket.writableLength === 0;
  if (saidGoodbye || socket.connecting || socket.remoteFamily === undefined) socket.destroy();
  else socket.resetAndDestroy();
}

function endsOf(client: Socket) {
  const { remoteAddress, remotePort, localAddress, localPort } = client;
  if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined;
  return {
    client: { address: remoteAddress, port: remotePort },
    local: { address: localAddress, port: localPort },
  };
}
