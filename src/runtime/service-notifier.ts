import { execFile } from "node:child_process";

/**
 * sd_notify(3) through the systemd-notify program: Node has no unix datagram sockets. Some 5 ms a call, so only for what changes
 * rarely. Does nothing where no service manager listens. Calls never overlap; of several quick ones the last status wins.
 */
export class ServiceNotifier {
  readonly #enabled: boolean;
  readonly #next = new Map<string, string>();
  #status = "";
  #running = false;
  readonly #watchdogMs: number | undefined;

  constructor(env: NodeJS.ProcessEnv) {
    const watchdogUs = Number(env["WATCHDOG_USEC"] ?? 0);
    this.#watchdogMs = watchdogUs > 0 ? watchdogUs / 1_000 : undefined;
    this.#enabled = env["NOTIFY_SOCKET"] !== undefined;
  }

  /** Within this time the service manager wants to hear that all is well; undefined: it does not watch. */
  get watchdogMs(): number | undefined {
    return this.#watchdogMs;
  }

  alive(): void {
    this.#send("WATCHDOG", "1");
  }

  ready(status: string): void {
    this.#next.set("READY", "1");
    this.status(status);
  }

  status(status: string): void {
    if (status === this.#status && !this.#next.has("READY")) return;
    this.#status = status;
    this.#send("STATUS", status);
  }

  /** The start, or the stop, may take so much longer from now on. */
  extend(moreMs: number): void {
    this.#send("EXTEND_TIMEOUT_USEC", String(Math.round(moreMs * 1_000)));
  }

  stopping(status: string): void {
    this.#next.set("STOPPING", "1");
    this.status(status);
  }

  #send(name: string, value: string): void {
    if (!this.#enabled) return;
    this.#next.set(name, value);
    if (this.#running) return;
    this.#running = true;
    this.#sendNext();
  }

  #sendNext(): void {
    if (this.#next.size === 0) {
      this.#running = false;
      return;
    }
    const words = [...this.#next].map(([name, value]) => `${name}=${value.replaceAll("\n", " ")}`);
    this.#next.clear();
    // A failure is not worth more than the next try: the service manager ends a start without READY by itself.
    execFile("systemd-notify", words, { timeout: 5_000 }, () => this.#sendNext());
  }
}
