import { execFile } from "node:child_process";

/**
 * sd_notify(3) through the systemd-notify program: Node has no unix datagram sockets. Some 5 ms a call, so only for what changes
 * rarely. Does nothing where no service manager listens. Calls never overlap; of several quick ones the last wins.
 */
export class ServiceNotifier {
  readonly #enabled: boolean;
  #next: readonly string[] | undefined;
  #running = false;

  constructor(env: NodeJS.ProcessEnv) {
    this.#enabled = env["NOTIFY_SOCKET"] !== undefined;
  }

  ready(status: string): void {
    this.#send(["--ready", `--status=${status}`]);
  }

  status(status: string): void {
    this.#send([...(this.#next?.includes("--ready") ? ["--ready"] : []), `--status=${status}`]);
  }

  #send(args: readonly string[]): void {
    if (!this.#enabled) return;
    this.#next = args;
    if (this.#running) return;
    this.#running = true;
    this.#sendNext();
  }

  #sendNext(): void {
    const args = this.#next;
    this.#next = undefined;
    if (args === undefined) {
      this.#running = false;
      return;
    }
    // A failure is not worth more than the next try: the service manager ends a start without READY by itself.
    execFile("systemd-notify", args, { timeout: 5_000 }, () => this.#sendNext());
  }
}
