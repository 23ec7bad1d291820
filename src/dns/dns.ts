import { errorMessage } from "../runtime/errors.ts";
import { answerTo, REFUSAL } from "./answer.ts";
import { NameDirectory, type NameDirectoryOptions } from "./name-directory.ts";
import { parseAskedName } from "./names.ts";
import { type DnsListen, type DnsSockets, listenDns } from "./socket-server.ts";
import { decodeQuery, encodeAnswer } from "./wire-message.ts";

/** The daemon's part for names: NAME.service.fleet, UNIT.unit.fleet, MACHINE.machine.fleet, and a refusal of all else. */
export class Dns {
  readonly #options: NameDirectoryOptions;
  readonly #directory: NameDirectory;
  #turn = 0;

  constructor(options: NameDirectoryOptions) {
    this.#options = options;
    this.#directory = new NameDirectory(options);
  }

  setRegistry(answers: boolean): void {
    this.#directory.setRegistry(answers);
  }

  /** Gives what ends it. An address that cannot be had is no reason for the daemon to end: it is told in the log. */
  async open(listen: DnsListen): Promise<() => Promise<void>> {
    const { clock, logger } = this.#options;
    let sockets: DnsSockets | undefined;
    try {
      sockets = await listenDns({ listen, clock, handler: (...args) => this.#handle(...args) });
    } catch (error) {
      logger.warn("dns-not-served", { ...listen, error: errorMessage(error) });
    }
    return async () => {
      await sockets?.close();
      this.#directory.close();
    };
  }

  async #handle(message: Buffer, by: "udp" | "tcp"): Promise<Buffer | undefined> {
    const decoded = decodeQuery(message);
    if (decoded.type === "ignored") return undefined;
    if (decoded.type === "rejected") return decoded.reply;
    const { query } = decoded;
    const asked = parseAskedName(query.question.name);
    if (asked.type === "outside") return encodeAnswer(query, REFUSAL, by);
    const facts = await this.#directory.facts(asked);
    this.#turn = (this.#turn + 1) % Number.MAX_SAFE_INTEGER;
    return encodeAnswer(query, answerTo(query.question, asked, facts, this.#turn), by);
  }
}
